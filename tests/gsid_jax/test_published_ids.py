import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax import published_ids
from gsid_jax.errors import UserError

CODES = [[1, 2], [3, 4], [5, 6]]


def write(path, **changes):
    columns = {"item_id": ["a", "b", "c"], "codes": CODES, "level_probs": [[0.5, 0.25]] * 3}
    table = pa.table({name: values for name, values in (columns | changes).items()
                      if values is not None})
    pq.write_table(table.replace_schema_metadata({"gsid.fingerprint": json.dumps({"model": "m"})}),
                   path)
    return path


def test_ids_with_their_probabilities_and_model(tmp_path):
    ids = published_ids.read_ids(write(tmp_path / "ids.parquet"))
    np.testing.assert_array_equal(ids.codes, CODES)
    np.testing.assert_array_equal(ids.level_probs, [[0.5, 0.25]] * 3)
    assert ids.key.to_pylist() == ["a", "b", "c"] and ids.model == "m"


def test_batches_hold_every_row_once(tmp_path, monkeypatch):
    monkeypatch.setattr(published_ids, "BATCH_ROWS", 2)
    parts = list(published_ids.batches(write(tmp_path / "ids.parquet"), ["item_id"]))
    assert [table["item_id"].to_pylist() for table, _ in parts] == [["a", "b"], ["c"]]
    np.testing.assert_array_equal(np.concatenate([codes for _, codes in parts]), CODES)


@pytest.mark.parametrize("changes, message", [
    ({"level_probs": None}, "column level_probs is missing, got item_id, codes"),
    ({"level_probs": [[0.5]] * 3}, "level_probs holds 3 finite numbers for 6 codes"),
    ({"codes": [[1, 2], [3], [5, 6]]}, "row 1 of column codes has 1 codes, row 0 has 2")])
def test_broken_columns_are_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        published_ids.read_ids(write(tmp_path / "ids.parquet", **changes))


def test_levels_that_differ_between_batches_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(published_ids, "BATCH_ROWS", 2)
    path = write(tmp_path / "ids.parquet", codes=[[1, 2], [3, 4], [5]])
    with pytest.raises(UserError, match="IDs of 2 and of 1 codes"):
        list(published_ids.batches(path, []))


def test_a_missing_or_foreign_file_is_named(tmp_path):
    with pytest.raises(UserError, match="none.parquet is missing; expected the file written by"):
        list(published_ids.batches(tmp_path / "none.parquet", []))
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        list(published_ids.batches(tmp_path / "text.parquet", []))
