"""Console tables: values as percentages, flags, and several methods side by side."""

import json

import pytest

from gsid_jax.evaluate import tables
from gsid_jax.evaluate.run import evaluate_run
from tests.gsid_jax.evaluate.conftest import make_run


def line(text, start):
    return next(each for each in text.splitlines() if each.strip().startswith(start))


def test_tables_come_from_the_file(run):
    evaluate_run(run.path)
    path = run.path / "evaluation" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    metrics["q2i"] = {"recall@1": 0.125, "recall@10": 0.25, "recall@100": 0.5, "mrr@100": 0.0625}
    path.write_text(json.dumps(metrics), encoding="utf-8")
    text = tables.report(run.path)
    assert line(text, "q2i").split() == ["q2i", "120", "12.5", "25.0", "50.0", "6.2"]
    assert "ID tree (1,200 items" in text and "ID tree" not in tables.report(run.path, tree=False)
    assert "COLLAPSED" not in text and "note" not in text
    assert "1,200 items (104 unseen in training)" in text and "true categories" in text
    assert line(text, "cate1_AMI") == "  cate1_AMI 100.0 (prefix 1), cate3_AMI 100.0 (prefix 3)"
    assert "pretrain 12.5 s" in line(text, "Time")
    assert line(text, "CPV").split() == ["CPV", "256", "25.0", "100.0", "100.0"]


def test_collapse_is_flagged_in_every_table_of_ids(tmp_path):
    good = evaluate_run(make_run(tmp_path / "good").path)
    bad = evaluate_run(make_run(tmp_path / "bad", codes="collapsed").path)
    text = tables.render({"GSID": good, "broken": bad})
    for start in ("broken: l1 query-item", "broken: l1  ", "broken: prefix1", "broken: IDs of 5"):
        assert line(text, start).endswith("COLLAPSED")
        assert not line(text, start.replace("broken", "GSID")).endswith("COLLAPSED")
    assert line(text, "broken: l1 query-item").split()[3:6] == ["100.0", "100.0", "0.0"]


def test_a_level_after_a_collapsed_one_is_flagged_too(run):
    metrics = evaluate_run(run.path)
    metrics["codes"]["l2"]["leak"] = 1
    rows = tables.code_table({"GSID": metrics})
    assert [line(rows, f"l{t} query").split()[-1] == "LEAK" for t in (1, 2, 3)] == [
        False, True, True]


@pytest.mark.parametrize("lacking", ["i2i", "ami", "clusters", "codes"])
def test_absent_parts_are_left_out(run, lacking):
    metrics = evaluate_run(run.path)
    absent = {"i2i": ["i2i", "i2i_by_trigger", "i2i_by_item", "i2i_code_accuracy"],
              "clusters": ["clusters", "spu_purity"], "ami": ["ami", "ami_headline"],
              "codes": ["codes", "code_accuracy", "i2i_code_accuracy", "ids", "ami", "clusters"]}
    for key in absent[lacking]:
        del metrics[key]
    text = tables.render({"GSID": metrics})
    assert {"i2i": "i2i", "ami": "AMI of", "clusters": "Clusters", "codes": "Health"
            }[lacking] not in text
    assert "Retrieval" in text


def test_grid_counts_wide_characters():
    text = tables.grid("t", ["", "n"], [["手机", "1"], ["abcdef", "12"]])
    assert text.splitlines()[2:] == ["  手机     1", "  abcdef  12"]
    assert tables.grid("t", ["", "n"], []) == ""
