import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax.errors import UserError
from gsid_jax.published_ids import PublishedIds
from tools.extension import published


class Encoder:
    """Gives text number i the codes (i, i + 1, i + 2)."""

    def expect(self, rows):
        assert rows == 2

    def encode(self, texts, kind, progress=None):
        first = np.array([int(text.split()[-1]) for text in texts])
        return {"codes": first[:, None] + np.arange(3)}


@pytest.fixture
def grown(tmp_path):
    """A dataset of four items, of which the run published two in another order."""
    pq.write_table(pa.table({"item_id": ["a", "b", "c", "d"],
                             "text": [f"item {i}" for i in range(4)]}), tmp_path / "items.parquet")
    ids = PublishedIds(pa.chunked_array([["d", "b", "gone"]]), np.array([[7, 7], [8, 8], [9, 9]]),
                       np.ones((3, 2), np.float32), "model")
    return tmp_path, ids


def test_published_codes_are_found_by_id_and_new_ones_encoded(grown):
    data_dir, ids = grown
    rows = published.align(ids, data_dir, "item")
    np.testing.assert_array_equal(rows, [-1, 1, -1, 0])
    codes = published.codes_to_keep(ids, rows, 2, data_dir, "item", Encoder())
    np.testing.assert_array_equal(codes, [[0, 1], [8, 8], [2, 3], [7, 7]])


def test_repeated_published_items_are_refused(grown):
    data_dir, ids = grown
    twice = PublishedIds(pa.chunked_array([["d", "d"]]), ids.codes[:2], ids.level_probs[:2], "model")
    with pytest.raises(UserError, match="name some item_id more than once among 2"):
        published.align(twice, data_dir, "item")


def test_texts_come_by_row_across_batches(grown, monkeypatch):
    data_dir, _ = grown
    monkeypatch.setattr(published, "CHUNK_ROWS", 2)
    parts = list(published.texts_of(data_dir, "item", np.array([1, 2, 3])))
    assert [(rows.tolist(), texts) for rows, texts in parts] == [
        ([1], ["item 1"]), ([2, 3], ["item 2", "item 3"])]
