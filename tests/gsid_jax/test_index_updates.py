"""Appending to and removing from a code index."""

import fcntl
import json
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax import index_updates
from gsid_jax.code_index import CodeIndex, build
from gsid_jax.errors import UserError
from gsid_jax.index_updates import append, remove

ROOT = pathlib.Path(__file__).parents[2]
MODEL = "a" * 64


def write_ids(path, ids, codes, model=MODEL, vectors=None):
    columns = {"item_id": ids, "codes": pa.array(codes, pa.list_(pa.int32()))}
    if vectors is not None:
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(
            pa.array(np.asarray(vectors, np.float32).reshape(-1)), len(vectors[0]))
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(
        {"gsid.fingerprint": json.dumps({"model": model})}), path)
    return path


@pytest.fixture
def index(tmp_path):
    """Four items of three IDs, with clicks and representations."""
    ids = write_ids(tmp_path / "ids.parquet", ["a", "b", "c", "d"],
                    [[1, 2], [0, 3], [1, 2], [2, 0]], vectors=np.arange(8.0).reshape(4, 2))
    return build(ids, tmp_path / "index", codebook_size=4,
                 extra={"clicks": np.arange(4, dtype=np.float32)})


def listed(index):
    """id -> (codes, clicks, vector)."""
    codes = index.trie.ids()[index.id_of_place()]
    return {name: (tuple(row), float(clicks), tuple(vector)) for name, row, clicks, vector in zip(
        index.item_ids().to_pylist(), codes.tolist(), index.statistics["clicks"],
        np.asarray(index.vectors).tolist())}


def test_appended_items_join_the_old_ones(index, tmp_path):
    before = listed(index)
    new = write_ids(tmp_path / "new.parquet", ["e", "f"], [[1, 2], [3, 3]],
                    vectors=[[9, 9], [8, 8]])
    changed = append(index.directory, new)
    assert listed(changed) == before | {"e": ((1, 2), 0.0, (9.0, 9.0)),
                                        "f": ((3, 3), 0.0, (8.0, 8.0))}
    assert changed.info["model"] == MODEL and len(changed.info["made_from"]) == 2
    assert sorted(np.asarray(changed.rows).tolist()) == [0, 1, 2, 3, 4, 5]
    CodeIndex(index.directory, verify=True)


def test_statistics_of_new_items_are_joined_by_id(index, tmp_path):
    new = write_ids(tmp_path / "new.parquet", ["e", "f"], [[1, 2], [3, 3]],
                    vectors=[[9, 9], [8, 8]])
    pq.write_table(pa.table({"item_id": ["f", "x"], "clicks": [7, 1]}), tmp_path / "s.parquet")
    changed = listed(append(index.directory, new, statistics=tmp_path / "s.parquet"))
    assert changed["f"][1] == 7.0 and changed["e"][1] == 0.0


def test_an_open_reader_keeps_the_old_state(index, tmp_path):
    before = listed(index)
    append(index.directory, write_ids(tmp_path / "new.parquet", ["e"], [[3, 3]], vectors=[[9, 9]]))
    remove(index.directory, write_ids(tmp_path / "gone.parquet", ["a"], [[0, 0]]))
    assert listed(index) == before
    assert sorted(listed(CodeIndex(index.directory))) == ["b", "c", "d", "e"]


def test_known_items_are_refused_or_get_their_new_id(index, tmp_path):
    new = write_ids(tmp_path / "new.parquet", ["b", "e"], [[3, 3], [3, 3]],
                    vectors=[[9, 9], [8, 8]])
    with pytest.raises(UserError, match="1 of its 2 items are in index .* such as 'b'; expected "
                                        "new items: leave them out, or pass --replace"):
        append(index.directory, new)
    changed = listed(append(index.directory, new, replace=True))
    assert changed["b"] == ((3, 3), 0.0, (9.0, 9.0)) and len(changed) == 5


def test_removed_items_are_gone_and_their_ids_too(index, tmp_path):
    (tmp_path / "gone.txt").write_text("d\n\nb\n")
    changed = remove(index.directory, tmp_path / "gone.txt")
    assert sorted(listed(changed)) == ["a", "c"]
    np.testing.assert_array_equal(changed.trie.ids(), [[1, 2]])


def test_append_and_remove_are_inverse(index, tmp_path):
    before = listed(index)
    new = write_ids(tmp_path / "new.parquet", ["e"], [[0, 1]], vectors=[[9, 9]])
    append(index.directory, new)
    assert listed(remove(index.directory, new)) == before


@pytest.mark.parametrize("ids, codes, options, message", [
    (["e"], [[3, 3]], {"model": "b" * 64}, "holds IDs of another model: got bbbbbbbbbbbb..., "
                                            "expected aaaaaaaaaaaa..."),
    (["e"], [[3, 4]], {}, "ID 3-4 has a code outside the codebook; expected codes from 0 to 3"),
    (["e"], [[3, 1, 1]], {"vectors": [[9, 9]]}, "IDs of 3 codes; expected 2, as in index"),
    (["e"], [[3, 3]], {"vectors": [[9, 9, 9]]}, "got of width 3, expected width 2"),
    (["e"], [[3, 3]], {}, "got none, expected width 2: write the IDs with --embeddings")])
def test_ids_that_do_not_fit_are_refused_and_nothing_changes(index, tmp_path, ids, codes, options,
                                                             message):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in index.directory.glob("*.json"))
    with pytest.raises(UserError, match=message):
        append(index.directory, write_ids(tmp_path / "new.parquet", ids, codes, **options))
    assert before == sorted((path.name, path.stat().st_mtime_ns)
                            for path in index.directory.glob("*.json"))


def test_items_that_are_not_there_are_refused_or_passed_over(index, tmp_path):
    (tmp_path / "gone.txt").write_text("z\na\n")
    with pytest.raises(UserError, match="1 of its 2 items are not in index .* such as 'z'"):
        remove(index.directory, tmp_path / "gone.txt")
    assert len(remove(index.directory, tmp_path / "gone.txt", missing_ok=True)) == 3


@pytest.mark.parametrize("text, message", [("a\nb\nc\nd\n", "names all 4 items"),
                                           ("\n", "names no item")])
def test_removals_that_cannot_be(index, tmp_path, text, message):
    (tmp_path / "gone.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        remove(index.directory, tmp_path / "gone.txt")


def test_a_damaged_index_is_not_carried_on(index, tmp_path):
    path = next(index.directory.glob("data-*/first_item.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="first_item.npy is damaged: its SHA-256 is"):
        append(index.directory, write_ids(tmp_path / "new.parquet", ["e"], [[3, 3]],
                                          vectors=[[9, 9]]))


def test_two_updates_at_once_are_refused(index, tmp_path):
    new = write_ids(tmp_path / "new.parquet", ["e"], [[3, 3]], vectors=[[9, 9]])
    with open(index.directory / "lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is being updated by another process"):
            append(index.directory, new)
    assert len(append(index.directory, new)) == 5


def test_stacked_rows_read_across_arrays():
    first, second = np.arange(6.0).reshape(3, 2), 10 + np.arange(4.0).reshape(2, 2)
    rows = index_updates.StackedRows([first, second], np.array([4, 0, 3]))
    np.testing.assert_array_equal(rows[np.array([0, 2, 1])], [second[1], second[0], first[0]])
    np.testing.assert_array_equal(rows[1:], [first[0], second[0]])
    assert rows.shape == (3, 2) and len(rows) == 3


def test_the_command_line(index, tmp_path):
    new = write_ids(tmp_path / "new.parquet", ["e"], [[3, 3]], vectors=[[9, 9]])
    command = [sys.executable, "-m", "gsid_jax.code_index", "append", f"--index={index.directory}"]
    done = subprocess.run([*command, f"--ids={new}"], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0 and "5 items, 4 IDs of 2 levels" in done.stdout, done.stderr
