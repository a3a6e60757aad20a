"""The code index: what is stored is what was given; damage and foreign IDs are refused."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax import code_index, index_files
from gsid_jax.code_index import CodeIndex, write_index
from gsid_jax.errors import UserError
from gsid_jax.index_contents import IndexContents

MODEL = "a" * 64


def contents(items=40, seed=0, width=3):
    rng = np.random.default_rng(seed)
    return IndexContents(
        rng.integers(0, 4, (items, 2)).astype(np.uint16),
        pa.array([f"item {i}" for i in range(items)], pa.large_string()),
        np.arange(items, dtype=np.int32),
        {"conversions": rng.random(items).astype(np.float32)},
        rng.normal(size=(items, width)).astype(np.float32))


def write_parquet(path, codes, model=MODEL, ids=None, **columns):
    ids = ids or [f"i{i}" for i in range(len(codes))]
    table = pa.table({"item_id": ids, "codes": pa.array(codes, pa.list_(pa.int32())), **columns})
    if model:
        table = table.replace_schema_metadata({"gsid.fingerprint": json.dumps({"model": model})})
    pq.write_table(table, path)
    return path


def same(index, given):
    order = np.asarray(index.rows)
    np.testing.assert_array_equal(index.contents().codes, given.codes[order])
    np.testing.assert_array_equal(index.statistics["conversions"],
                                  given.statistics["conversions"][order])
    np.testing.assert_array_equal(index.vectors, given.vectors[order])
    assert index.item_ids().to_pylist() == given.item_ids.take(pa.array(order)).to_pylist()


def test_items_lie_by_id_with_all_that_belongs_to_them(tmp_path):
    given = contents()
    index = write_index(tmp_path / "index", given, model=MODEL, codebook_size=4)
    same(CodeIndex(tmp_path / "index", verify=True), given)
    for number, codes in enumerate(index.trie.ids()):
        rows = np.asarray(index.rows[index.items_of(number)])
        assert rows.tolist() == np.flatnonzero((given.codes == codes).all(axis=1)).tolist()
    again = write_index(tmp_path / "again", index.contents(), model=MODEL, codebook_size=4)
    assert again.info["files"] == index.info["files"]
    index.check_model(MODEL, 4, 2)


def test_bytes_an_item_are_at_most_24(tmp_path):
    given = contents(items=1000)
    given.statistics.update({name: given.statistics["conversions"] for name in "abcd"})
    index = write_index(tmp_path / "index", given, model=MODEL, codebook_size=4)
    assert index.rows.nbytes + sum(v.nbytes for v in index.statistics.values()) == 24 * 1000
    assert "24 bytes an item" in index.summary()
    given.statistics["e"] = given.statistics["a"]
    with pytest.raises(UserError, match="got 6 statistics.*expected at most 5.*--columns"):
        write_index(tmp_path / "other", given, model=MODEL, codebook_size=4)
    assert not (tmp_path / "other").exists()


def test_an_index_is_replaced_only_if_asked_and_in_one_instant(tmp_path, monkeypatch):
    first, second = contents(seed=1), contents(seed=2)
    write_index(tmp_path, first, model=MODEL, codebook_size=4)
    with pytest.raises(UserError, match="there is an index in .* already.*--overwrite"):
        write_index(tmp_path, second, model=MODEL, codebook_size=4)
    opened = CodeIndex(tmp_path)

    def fail(*_):
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(index_files, "write_json", fail)
        with pytest.raises(KeyboardInterrupt):
            write_index(tmp_path, second, model=MODEL, codebook_size=4, overwrite=True)
    same(CodeIndex(tmp_path, verify=True), first)
    write_index(tmp_path, second, model=MODEL, codebook_size=4, overwrite=True)
    same(CodeIndex(tmp_path, verify=True), second)
    same(opened, first)  # a reader keeps what it has mapped
    assert len(list(tmp_path.glob("data-*"))) == 1 and not list(tmp_path.glob("partial-*"))


def _flip(path: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage, message", [
    (lambda d: _flip(next(d.glob("data-*/rows.npy"))), "rows.npy is damaged: its SHA-256 is"),
    (lambda d: _flip(next(d.glob("data-*/vectors.npy"))), "vectors.npy is damaged"),
    (lambda d: next(d.glob("data-*/rows.npy")).write_bytes(b"\x93NUMPY"),
     r"rows.npy has 6 bytes; expected \d+: the file was cut short"),
    (lambda d: next(d.glob("data-*/first_item.npy")).unlink(), "first_item.npy is missing"),
    (lambda d: (d / "index.json").write_text((d / "index.json").read_text()[:50]),
     "index.json is damaged"),
    (lambda d: (d / "index.json").write_text(
        (d / "index.json").read_text().replace('"ids": ', '"ids": 1')), "index.json is damaged"),
    (lambda d: (d / "index.json").unlink(), "there is no code index in"),
])
def test_a_damaged_index_says_which_file(tmp_path, damage, message):
    write_index(tmp_path, contents(), model=MODEL, codebook_size=4)
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        CodeIndex(tmp_path, verify=True)
    assert "build" in str(error.value)


def test_another_models_index_and_ids_are_refused(tmp_path):
    index = write_index(tmp_path / "index", contents(), model=MODEL, codebook_size=4)
    with pytest.raises(UserError, match="holds IDs of another model: got model aaaa.*expected bbb"):
        index.check_model("b" * 64, 4, 2)
    with pytest.raises(UserError, match="2 levels of 4 codes, expected .* 3 levels of 4"):
        index.check_model(MODEL, 4, 3)
    ids = write_parquet(tmp_path / "ids.parquet", [[0, 1], [1, 1]])
    with pytest.raises(UserError, match="ids.parquet holds IDs of another model"):
        code_index.build(ids, tmp_path / "other", codebook_size=4, model="b" * 64)
    unknown = write_parquet(tmp_path / "unknown.parquet", [[0, 1]], model=None)
    with pytest.raises(UserError, match="does not say which model made its IDs"):
        code_index.build(unknown, tmp_path / "other", codebook_size=4)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("codes, ids, message", [
    ([[0, 1], [0, 4]], None, r"row 1 \(item i1\): ID 0-4 has a code outside the codebook; expected "
                             "codes from 0 to 3"),
    ([[0, 1], [-1, 0]], None, "ID -1-0 has a code outside"),
    ([[0, 1], [0]], None, "row 1: got 1 codes, expected 2"),
    ([[0, 1], None], None, "row 1: got 0 codes, expected 2"),
    ([[0, 1], [0, 1]], ["x", "x"], "item id 'x' occurs 2 times"),
    ([[0, 1], [0, 1]], ["x", None], "an item without id"),
    ([], None, "has no rows"),
])
def test_bad_ids_name_row_and_value(tmp_path, codes, ids, message):
    path = write_parquet(tmp_path / "ids.parquet", codes, ids=ids)
    with pytest.raises(UserError, match=message):
        code_index.build(path, tmp_path / "index", codebook_size=4)
    assert not (tmp_path / "index").exists()


def test_statistics_join_by_item_and_embeddings_become_vectors(tmp_path):
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype=np.float32)), 2)
    ids = write_parquet(tmp_path / "ids.parquet", [[1, 0], [0, 1], [0, 0]], embedding=embedding)
    pq.write_table(pa.table({"item_id": ["i2", "i0", "zz"], "price": [2.5, None, 1.0],
                             "clicks": [7, 3, 1], "name": ["a", "b", "c"]}),
                   tmp_path / "numbers.parquet")
    index = code_index.build(ids, tmp_path / "index", codebook_size=4,
                             statistics=tmp_path / "numbers.parquet")
    assert index.rows.tolist() == [2, 1, 0]
    assert index.statistics["price"].tolist() == [2.5, 0, 0]
    assert index.statistics["clicks"].tolist() == [7, 0, 3]
    assert index.vectors.tolist() == [[4, 5], [2, 3], [0, 1]]
    with pytest.raises(UserError, match="no numbers in name"):
        code_index.build(ids, tmp_path / "other", codebook_size=4,
                         statistics=tmp_path / "numbers.parquet", columns=["name"])
