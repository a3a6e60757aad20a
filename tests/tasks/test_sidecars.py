"""The Parquet tables of a dataset: weights, indices, what is held out."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest

from gsid_jax.errors import UserError
from tasks import sidecars
from tasks.dataset_settings import Settings
from tasks.raw_files import Rejects
from tests.tasks import raw_catalogue


def build(directory, sources, **settings):
    counts = sidecars.write_sidecars(sources, directory, Settings(**settings), Rejects())
    return counts, {path.stem: pq.read_table(path).to_pydict()
                    for path in directory.glob("*.parquet")}


def test_tables_of_given_test_files(tmp_path):
    counts, tables = build(tmp_path, raw_catalogue.write(tmp_path / "raw"))
    assert counts == {
        "items": 60, "items_seen": 58, "train_records": 56, "validation_records": 2,
        "interactions": 174, "train_pairs": 174, "queries": 49, "train_queries": 48, "q2i_test": 2,
        "i2i_test": 2, "sequences": 2, "truth": 60}
    items, queries, pairs = tables["items"], tables["queries"], tables["train_pairs"]
    assert items["item_index"] == list(range(60)) and items["item_id"][3] == "i3"
    assert items["text"][1] == "sony phone no 1 as new" and items["title"][1] == "sony phone no 1"
    assert items["category"][3] == ["things", "phone"] and items["category"][1] is None
    assert items["attributes"][4] == '{"brand": "nike"}' and items["attributes"][1] is None
    assert items["conversions"][:2] == [1, 2] and items["conversions"][58] == 0
    assert items["seen"] == [True] * 58 + [False] * 2
    assert queries["query"][:3] == ["phone", "apple phone", "apple"]
    assert queries["split"] == ["train"] * 48 + ["test"]
    assert queries["weight"][1] == 10.0 and queries["weight"][48] == 0  # 5 each by i0, i36
    assert pairs["item_index"] == sorted(pairs["item_index"])
    assert pairs["query_index"][:3] == [1, 0, 2] and pairs["weight"][:3] == [5.0, 1.0, 1.0]
    assert tables["sequences"] == {"user_id": ["u1", "u2"], "item_indices": [[1, 7], [3]]}
    assert tables["truth"]["spu"][7] == "sony camera"
    assert tables["q2i_test"]["unseen_query"] == [False, True]


def test_repeated_pairs_add_up_and_weights_are_settings(tmp_path):
    rows = [{"query": "a", "item_id": "i0", "click": 2}, {"query": "b", "item_id": "i0",
                                                          "contact": 1},
            {"query": " a ", "item_id": "i0", "purchase": 1}, {"query": "c", "item_id": "i1",
                                                               "click": 9}]
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", "q2i_test",
                                  interactions=rows)
    counts, tables = build(tmp_path, sources, click_weight=0, contact_weight=2, purchase_weight=7)
    assert counts["interactions"] == 4 and counts["train_pairs"] == 2
    assert tables["train_pairs"]["weight"] == [7.0, 2.0]
    assert tables["items"]["conversions"][:2] == [2, 0]
    assert tables["queries"]["query"] == ["b", "a", "apple", "nikon camera"]


def test_without_test_files_items_and_queries_are_held_out(tmp_path):
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions")
    counts, tables = build(tmp_path, sources, holdout_items=0.1, holdout_queries=0.1)
    unseen = [index for index in range(58) if not tables["items"]["seen"][index]]
    held = [index for index in range(48) if tables["queries"]["split"][index] == "test"]
    assert len(unseen) == 6 and 5 <= len(held) and counts["items_seen"] == 52
    trained = set(zip(tables["train_pairs"]["query_index"], tables["train_pairs"]["item_index"]))
    tested = {(query, item) for query, found in zip(tables["q2i_test"]["query_index"],
                                                    tables["q2i_test"]["item_indices"])
              for item in found}
    assert len(trained) + len(tested) == 174 and not trained & tested
    assert all(item in unseen or query in held for query, item in tested)
    for query, new in zip(tables["q2i_test"]["query_index"], tables["q2i_test"]["unseen_query"]):
        assert new == (query in held)
    for name in ("again", "other"):
        (tmp_path / name).mkdir()
    assert build(tmp_path / "again", sources, holdout_items=0.1, holdout_queries=0.1)[1] == tables
    other = build(tmp_path / "other", sources, holdout_items=0.1, holdout_queries=0.1, seed=1)[1]
    assert other["items"]["seen"] != tables["items"]["seen"]


def test_data_too_small_to_hold_out_is_refused(tmp_path):
    rows = [{"query": "a", "item_id": "i0", "click": 2}]
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", interactions=rows)
    with pytest.raises(UserError, match="1 pairs of 1 items and 1 queries cannot be parted: got 0 "
                       "held out.*supply --q2i_test"):
        build(tmp_path, sources)
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", "q2i_test",
                                  interactions=rows)
    counts, _ = build(tmp_path, sources)
    assert (counts["train_records"], counts["validation_records"]) == (1, 0)
    with pytest.raises(UserError, match="leaves 0 pairs for training"):
        build(tmp_path, sources, click_weight=0)


@pytest.mark.parametrize("changed, message", [
    ({"validation_fraction": 0.9}, "bad validation_fraction: got 0.9, expected 0 to 0.5"),
    ({"contact_weight": -1.0}, "bad contact_weight: got -1.0, expected 0 or more"),
    ({"click_weight": 0, "contact_weight": 0, "purchase_weight": 0}, "bad weights: got 0 for"),
    ({"max_queries": 0}, "bad max_queries: got 0, expected 1 or more: pass --max_queries=64"),
])
def test_settings_are_checked(changed, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(Settings(), **changed)


def test_chunks_do_not_change_the_tables(tmp_path, monkeypatch):
    sources = raw_catalogue.write(tmp_path / "raw")
    whole = build(tmp_path, sources)
    (tmp_path / "chunked").mkdir()
    monkeypatch.setattr(sidecars, "CHUNK_ROWS", 7)
    assert build(tmp_path / "chunked", sources) == whole
    assert np.isfinite(whole[1]["queries"]["weight"]).all()
