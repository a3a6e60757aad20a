"""The report on raw files: what is in them, what is wrong, what a build would drop."""

import json

from tests.tasks import raw_catalogue, small_catalogue
from tools import validate as tool


def test_a_report_counts_what_is_there(tmp_path, capsys):
    rows = raw_catalogue.records()
    rows["items"] += [dict(rows["items"][3], item_id="same"), {"item_id": "bad", "title": ""},
                      {"item_id": "long", "title": "x" * 3000, "category": ["a", "phone"]}]
    rows["interactions"] += [{"query": "ghost", "item_id": "nobody", "click": 1},
                             {"query": "apple", "item_id": "i1", "click": 1, "user_id": "u",
                              "timestamp": 1_700_000_000}]
    sources = raw_catalogue.write(tmp_path / "raw", **rows)
    small_catalogue.write_vocabulary(tmp_path / "spm.model",
                                     [row["title"] for row in rows["items"][:60]])
    options = [f"--{kind}={path}" for kind, path in sources.items()] + [
        f"--json={tmp_path}/report.json", f"--vocabulary={tmp_path}/spm.model",
        "--min_pair_weight=2"]
    assert tool.main(options) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    items, events = report["items"], report["interactions"]
    assert items["records"] == 62 and items["rejected"] == {"empty text": 1}
    assert items["same_text_as_an_earlier_item"] == 1 and items["over_long"] == 1
    assert items["text"]["characters"]["max"] == 3000 and items["text"]["tokens"]["min"] > 1
    assert items["category_depth"] == {"0": 40, "2": 22}
    assert items["categories_with_several_parents"] == 1  # phone
    assert events["rejected"] == {"unknown item": 1} and events["records"] == 175
    assert events["users"] == 1 and events["times"] == [1_700_000_000] * 2
    assert events["query_shape"]["number"] == 48 and events["items_without"] == 4
    assert events["would_drop"]["light_pairs"] > 0
    assert events["pairs_left"] == events["pairs"] - events["would_drop"]["light_pairs_pairs"]
    assert report["files"]["items"][0]["encoding"] == "ASCII"
    assert report["sequences"]["items_viewed"] == 3 and report["truth"]["spus"] == 36
    assert "rejected: empty text 1" in printed and "items.jsonl, line 62: empty text" in printed
    assert tool.main([*options, "--strict"]) == 1


def test_useless_files_and_wrong_paths_fail(tmp_path, capsys):
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", items=[{}])
    options = [f"--items={sources['items']}", f"--events={sources['interactions']}"]
    assert tool.main(options) == 1
    assert "error: items file" in capsys.readouterr().out
    assert tool.main([*options, "--columns=none.yaml"]) == 1
    assert "error: column map none.yaml cannot be read" in capsys.readouterr().err
    assert tool.main([f"--items={tmp_path}/no.jsonl", options[1]]) == 1
    assert "error: items file" in capsys.readouterr().err
