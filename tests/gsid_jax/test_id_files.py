"""ID files: parts, resumption, refusal, joining."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from gsid_jax.errors import UserError
from gsid_jax.id_files import IdFile, InputRow, path_string

LETTERS = "abcdefgh"


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list(LETTERS), random.integers(1, 12))) for _ in range(50)]
    return [InputRow(row, f"id{row}", text) for row, text in enumerate(texts)]


class Kill(Exception):
    """Stands for a kill of the process."""


def killed(rows, after):
    """Yields rows and dies at row ``after``."""
    for row in rows:
        if row.row == after:
            raise Kill
        yield row


def made(path, letters, rows, made_from=None, **options):
    file = IdFile(path, made_from or {"input": "x"}, 50, part_rows=8)
    assert file.open()
    file.fill(letters.encoder(), "item", rows, **options)
    return file


def test_one_row_per_input_row_in_order(tmp_path, letters, rows):
    file = made(tmp_path / "ids.parquet", letters, rows)
    assert file.join() == 50
    table = pq.read_table(tmp_path / "ids.parquet")
    assert table.column_names == ["row", "item_id", "codes", "path", "log_prob", "level_probs"]
    assert table["row"].to_pylist() == list(range(50))
    assert table["item_id"].to_pylist() == [row.key for row in rows]
    encoded = letters.encoder().encode([row.text for row in rows])
    assert table["codes"].to_pylist() == encoded["codes"].tolist()
    assert table["path"].to_pylist() == ["-".join(map(str, codes)) for codes in encoded["codes"]]
    np.testing.assert_allclose(table["log_prob"].to_numpy(), encoded["log_prob"].sum(axis=1),
                               rtol=1e-6)
    np.testing.assert_allclose(table["level_probs"].to_pylist(), np.exp(encoded["log_prob"]),
                               rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["ids.parquet"]


def test_embeddings_and_query_column(tmp_path, letters, rows):
    file = IdFile(tmp_path / "q.parquet", {}, 50)
    file.open()
    file.fill(letters.encoder(), "query", rows, embeddings=True)
    file.join()
    table = pq.read_table(tmp_path / "q.parquet")
    encoded = letters.encoder().encode([row.text for row in rows])
    assert table["query"].to_pylist() == [row.key for row in rows]
    np.testing.assert_array_equal(table["embedding"].to_pylist(), encoded["embedding"])


@pytest.mark.parametrize("after", [0, 7, 20, 49])
def test_a_killed_run_continues_to_the_same_file(tmp_path, letters, rows, after):
    made(tmp_path / "whole.parquet", letters, rows).join()
    with pytest.raises(Kill):
        made(tmp_path / "ids.parquet", letters, killed(rows, after))
    parts = tmp_path / "ids.parquet.parts"
    assert len(list(parts.glob("part-*"))) == after // 8
    assert not (tmp_path / "ids.parquet").exists()
    encoder = letters.encoder()
    seen = []
    encode = encoder.encode_tokens
    encoder.encode_tokens = lambda tokens, **kw: (seen.append(len(tokens)), encode(tokens, **kw))[1]
    file = IdFile(tmp_path / "ids.parquet", {"input": "x"}, 50, part_rows=8)
    file.open()
    file.fill(encoder, "item", rows)
    assert sum(seen) == 50 - after // 8 * 8
    file.join()
    assert (tmp_path / "ids.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_shards_fill_different_parts_and_the_last_joins(tmp_path, letters, rows):
    path = tmp_path / "ids.parquet"
    assert made(path, letters, rows, shards=3, shard_index=1).join() is None
    assert made(path, letters, rows, shards=3, shard_index=0).join() is None
    assert made(path, letters, rows, shards=3, shard_index=2).join() == 50
    made(tmp_path / "whole.parquet", letters, rows).join()
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_shard_that_finds_the_output_joined_says_so(tmp_path, letters, rows):
    file = made(tmp_path / "ids.parquet", letters, rows)
    other = IdFile(tmp_path / "ids.parquet", {"input": "x"}, 50, part_rows=8)
    assert file.join() == 50
    assert other.join() == 50


def test_parts_without_good_rows_are_empty(tmp_path, letters, rows):
    good = [row for row in rows if not 8 <= row.row < 16 and row.row < 47]
    assert made(tmp_path / "ids.parquet", letters, good).join() == 39
    kept = pq.read_table(tmp_path / "ids.parquet")["row"].to_pylist()
    assert kept == [row.row for row in good]


def test_an_existing_output_is_refused(tmp_path, letters, rows):
    made(tmp_path / "ids.parquet", letters, rows).join()
    with pytest.raises(UserError, match="exists already; expected a new file.*--overwrite"):
        made(tmp_path / "ids.parquet", letters, rows)
    file = IdFile(tmp_path / "ids.parquet", {"input": "y"}, 50)
    assert file.open(overwrite=True)
    file.fill(letters.encoder(), "item", rows)
    assert file.join() == 50


def test_parts_made_differently_are_refused_with_the_difference(tmp_path, letters, rows):
    with pytest.raises(Kill):
        made(tmp_path / "ids.parquet", letters, killed(rows, 20))
    with pytest.raises(UserError, match="input: was x, now y.*expected the same settings"):
        made(tmp_path / "ids.parquet", letters, rows, {"input": "y"})
    file = IdFile(tmp_path / "ids.parquet", {"input": "y"}, 50)
    file.open(overwrite=True)
    assert not list((tmp_path / "ids.parquet.parts").glob("part-*"))


def test_a_kill_between_join_and_clean_up_is_complete(tmp_path, letters, rows, monkeypatch):
    file = made(tmp_path / "ids.parquet", letters, rows)
    monkeypatch.setattr(file, "_clean", lambda: None)
    file.join()
    again = IdFile(tmp_path / "ids.parquet", {"input": "x"}, 50, part_rows=8)
    assert not again.open()
    assert [path.name for path in tmp_path.iterdir()] == ["ids.parquet"]


def test_path_string():
    assert path_string([17, 3, 101, 5]) == "17-3-101-5"
