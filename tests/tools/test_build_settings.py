"""What the settings of a build do: duplicates, guards, limits, time, item pairs, many files."""

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax.errors import UserError
from tasks import catalogue_builder, duplicates
from tests.tasks import raw_catalogue
from tools.build_dataset import build_dataset


LONG = ("comes from a household without smoke or pets, was used twice, has no scratches that one can "
        "see, will be sent in its first box on the day after payment")


@pytest.fixture(autouse=True)
def tables_only(monkeypatch):
    monkeypatch.setattr(catalogue_builder, "build_catalogue", lambda *_: {})


def built(directory: pathlib.Path, sources: dict, **settings) -> tuple[dict, dict]:
    """(tables, record) of a build."""
    build_dataset(**sources, output_dir=directory, **settings)
    return ({path.stem: pq.read_table(path).to_pydict() for path in directory.glob("*.parquet")},
            json.loads((directory / "dataset.json").read_text()))


def texts_of_pairs(tables: dict) -> set[tuple[str, str]]:
    return {(tables["queries"]["query"][query], tables["items"]["item_id"][item]) for query, item in
            zip(tables["train_pairs"]["query_index"], tables["train_pairs"]["item_index"])}


def test_many_files_other_names_and_other_formats_give_the_same(tmp_path):
    plain, _ = built(tmp_path / "plain", raw_catalogue.write(tmp_path / "raw", "items",
                                                             "interactions"))
    rows = raw_catalogue.records()
    (tmp_path / "parts").mkdir()
    for part in range(3):
        raw_catalogue.write_lines(tmp_path / "parts" / f"events-{part}.jsonl", [
            {"search": row["query"], "listing": row["item_id"], **{
                name: row[name] for name in ("click", "contact", "purchase") if name in row}}
            for row in rows["interactions"][58 * part:58 * (part + 1)]])
    pq.write_table(pa.Table.from_pylist([
        {"listing": row["item_id"], "name": row["title"], "about": row["description"],
         "category": row["category"],
         "attributes": None if row["attributes"] is None else list(row["attributes"].items())}
        for row in rows["items"]], pa.schema([
            ("listing", pa.string()), ("name", pa.string()), ("about", pa.string()),
            ("category", pa.list_(pa.string())),
            ("attributes", pa.map_(pa.string(), pa.string()))])), tmp_path / "items.parquet")
    names = tmp_path / "map.yaml"
    names.write_text("items: {item_id: listing, title: name, description: about}\n"
                     "events: {query: search, item_id: listing}\n")
    for number, events in enumerate((str(tmp_path / "parts"), f"{tmp_path}/parts/*.jsonl",
                                     ",".join(f"{tmp_path}/parts/events-{part}.jsonl"
                                              for part in range(3)),
                                     f"file://{tmp_path}/parts")):
        tables, record = built(tmp_path / f"data{number}", {
            "items": tmp_path / "items.parquet", "interactions": events, "columns": names})
        assert tables == plain
    assert record["sources"]["interactions"]["files"] == 3
    with pytest.raises(UserError, match="built differently: items file was items.parquet"):
        built(tmp_path / "data0", {"items": tmp_path / "items.parquet",
                                   "interactions": str(tmp_path / "parts")})


def test_duplicates_are_merged_and_named(tmp_path):
    rows = raw_catalogue.records()
    rows["items"] += [dict(rows["items"][7], item_id="copy", title="SONY camera no 7"),
                      dict(rows["items"][8], item_id="near",
                           title=f'{rows["items"][8]["title"]} {LONG}')]
    rows["items"][8]["title"] += f". {LONG}"
    rows["interactions"].append({"query": "from the copy", "item_id": "copy", "click": 4})
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", "q2i_test", "truth",
                                  **rows)
    tables, record = built(tmp_path / "text", sources, deduplicate="text")
    assert tables["duplicates"] == {"item_id": ["copy"], "same_as": ["i7"]}
    assert record["counts"]["items"] == 61 and record["counts"]["duplicates"] == 1
    assert tables["items"]["item_index"] == list(range(61))
    assert ("from the copy", "i7") in texts_of_pairs(tables)
    tables, _ = built(tmp_path / "minhash", sources, deduplicate="minhash")
    found = dict(zip(tables["duplicates"]["item_id"], tables["duplicates"]["same_as"]))
    assert found == {"i40": "i4", "copy": "i7", "near": "i8"}  # i40: "... no 4" and a 0
    assert duplicates.jaccard("abcdef", "ABCDEF") == 1.0 and duplicates.jaccard("abc", "xyz") == 0


def test_robots_spam_and_rare_things_are_left_out_and_counted(tmp_path):
    rows = raw_catalogue.records()["interactions"]
    for place, row in enumerate(rows):
        row["user_id"] = f"u{place}"
    rows += [{"query": "robot food", "item_id": f"i{item}", "click": 1, "user_id": "robot"}
             for item in range(20)]
    rows += [{"query": "anything", "item_id": f"i{item}", "click": 9} for item in range(55)]
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", "q2i_test",
                                  interactions=rows)
    tables, record = built(tmp_path / "data", sources, max_user_events=10, max_query_items=40,
                           min_pair_weight=2, min_query_weight=11, min_item_weight=6)
    counts = record["counts"]
    assert {name: counts[f"dropped_{name}"] for name in (
        "spam_users", "spam_user_events", "spam_queries", "spam_query_events")} == {
            "spam_users": 1, "spam_user_events": 20, "spam_queries": 1, "spam_query_events": 55}
    assert not {"robot food", "anything", "apple phone"} & set(tables["queries"]["query"][:-2])
    weights = tables["train_pairs"]["weight"]
    assert min(weights) >= 2 and counts["dropped_light_pairs"] == 20 + 58
    by_query: dict[int, float] = {}
    for query, weight in zip(tables["train_pairs"]["query_index"], weights):
        by_query[query] = by_query.get(query, 0) + weight
    assert counts["dropped_light_queries"] > 0 and counts["dropped_light_items"] > 0
    assert tables["queries"]["query_index"] == list(range(counts["queries"]))


def test_time_parts_training_validation_and_test(tmp_path):
    rows = [dict(row, timestamp=1000 + place)
            for place, row in enumerate(raw_catalogue.records()["interactions"])]
    rows += [{"query": "apple phone", "item_id": "i0", "click": 1, "timestamp": 1180},
             {"query": "apple phone", "item_id": "i6", "click": 1, "timestamp": 1181},
             {"query": "brand new", "item_id": "i59", "click": 2, "timestamp": 1182}]
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", interactions=rows)
    tables, record = built(tmp_path / "data", sources, split="time", test_from="1180",
                           validation_from="1150")
    found = {tables["queries"]["query"][query]: items for query, items in zip(
        tables["q2i_test"]["query_index"], tables["q2i_test"]["item_indices"])}
    assert found == {"apple phone": [6], "brand new": [59]}  # i0 was known
    assert tables["q2i_test"]["unseen_query"] == [False, True]
    assert tables["items"]["validation"] == [50 <= item < 58 for item in range(60)]
    assert not any(record["leakage"][name] for name in ("pairs_in_training",
                                                        "unseen_queries_in_training"))
    with pytest.raises(UserError, match="puts 0 of 177 interactions into the test; .*between 1970-"):
        built(tmp_path / "other", sources, split="time", test_from="2020-01-01")
    del rows[3]["timestamp"]
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", interactions=rows)
    with pytest.raises(UserError, match="1 of 177 interactions have no timestamp"):
        built(tmp_path / "other", sources, split="time", test_from="1180")
    with pytest.raises(UserError, match="split is 'hash' and test_from is '2020'"):
        built(tmp_path / "other", sources, test_from="2020")


def test_titles_of_similar_items_become_queries_but_for_the_test(tmp_path):
    pairs = [{"item_id": "i3", "similar": ["i9", "i4", "i3"], "scores": [0.5, 0.25, 0.2]},
             {"item_id": "i59", "similar": ["i5", "i6"], "scores": [3, 1]}]
    (tmp_path / "raw").mkdir()
    sources = raw_catalogue.write(tmp_path / "raw") | {
        "item_pairs": raw_catalogue.write_lines(tmp_path / "raw" / "pairs.jsonl", pairs)}
    tables, record = built(tmp_path / "data", sources, pair_weight=4)
    added = {pair: weight for pair, weight in zip(zip(
        [tables["queries"]["query"][query] for query in tables["train_pairs"]["query_index"]],
        tables["train_pairs"]["item_index"]), tables["train_pairs"]["weight"]) if " no " in pair[0]}
    titles = tables["items"]["title"]
    assert added == {(titles[9], 3): 4.0, (titles[4], 3): 2.0, (titles[6], 59): pytest.approx(4 / 3)}
    assert record["counts"]["dropped_item_pairs"] == 2  # itself, and a pair of the i2i test
    assert tables["items"]["seen"][59]


def test_lower_case_and_leaks_that_a_user_brings(tmp_path):
    rows = raw_catalogue.records()
    rows["items"][0]["title"] = "Apple PHONE no 0"
    rows["q2i_test"] = [{"query": "APPLE", "item_ids": ["i0"]}, {"query": "appleph one",
                                                                "item_ids": ["i59"]}]
    sources = raw_catalogue.write(tmp_path / "raw", **rows)
    tables, record = built(tmp_path / "data", sources, lower=True)
    assert tables["items"]["text"][0] == "apple phone no 0"
    assert record["leakage"] == {
        "pairs_in_training": 1, "unseen_queries_in_training": 0,
        "validation_items_without_text_of_their_own": 0, "test_items_read_as_training": 0,
        "unseen_queries_like_training": 1, "i2i_pairs_in_sequences": 1}
