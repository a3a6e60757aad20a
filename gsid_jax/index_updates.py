"""A growing catalogue: items join a code index, or leave it, without any training.

An update writes a whole new state and puts it in force at once (``index_files``): readers that have
the old state open keep it, a killed update changes nothing.
"""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsid_jax.code_index import CodeIndex, check_same_model, write_index
from gsid_jax.errors import UserError
from gsid_jax.index_contents import IndexContents, join_statistics, read_fingerprint, read_ids

EXAMPLES = 3  # item ids shown in a message


class StackedRows:
    """Rows of several arrays [n_i, D] in some order, read only when they are asked for.

    So representations larger than memory pass from one state of an index to the next.
    """

    def __init__(self, arrays: Sequence[np.ndarray], order: np.ndarray):
        self._arrays = list(arrays)
        self._starts = np.cumsum([0, *(len(array) for array in arrays)])
        self._order = order
        self.shape = (len(order), arrays[0].shape[1])
        self.dtype = arrays[0].dtype

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, rows) -> np.ndarray:
        places = self._order[rows]
        values = np.empty((len(places), self.shape[1]), self.dtype)
        part = np.searchsorted(self._starts, places, side="right") - 1
        for number, array in enumerate(self._arrays):
            here = part == number
            values[here] = array[places[here] - self._starts[number]]
        return values


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[CodeIndex]:
    """The index, verified, while no other process may update it."""
    CodeIndex(directory)  # says so if there is none
    with open(directory / "lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"index {directory} is being updated by another process; expected one "
                            "update at a time: wait for the other to end") from error
        yield CodeIndex(directory, verify=True)


def append(directory: str | os.PathLike, ids: str | os.PathLike, *,
           statistics: str | os.PathLike | None = None, replace: bool = False) -> CodeIndex:
    """Adds the items of an IDs Parquet (``gsid_jax.infer``) to an index.

    Args:
      directory: the index.
      ids: IDs by the index's model; with embeddings if the index holds representations.
      statistics: Parquet with item_id and the numbers that the index holds; without it, new items
        start at 0.
      replace: items that the index has already get the new ID; otherwise they are an error.

    Returns the new state. Raises UserError for a damaged index and for IDs of another model or
    codebook; the index is then as before.
    """
    directory = pathlib.Path(directory)
    with _locked(directory) as index:
        fingerprint = read_fingerprint(ids)
        check_same_model(ids, fingerprint, index.info["model"])
        new = read_ids(ids, index.codebook_size)
        if new.codes.shape[1] != index.trie.num_levels:
            raise UserError(f"{ids} has IDs of {new.codes.shape[1]} codes; expected "
                            f"{index.trie.num_levels}, as in index {directory}: write the IDs with "
                            "the same step of the run")
        _fit_vectors(new, index, ids)
        names = list(index.statistics)
        new.statistics = join_statistics(new, statistics, names) if statistics and names else {
            name: np.zeros(len(new), np.float32) for name in names}
        old = index.contents()
        known = _among(old.item_ids, new.item_ids)
        if known.any() and not replace:
            raise UserError(f"{ids}: {int(known.sum()):,} of its {len(new):,} items are in index "
                            f"{directory} already, such as {_examples(old.item_ids, known)}; "
                            "expected new items: leave them out, or pass --replace to give them "
                            "their new IDs")
        first_row = int(old.rows.max()) + 1
        if first_row + len(new) >= 2**31:
            raise UserError(f"index {directory} has used row numbers up to {first_row - 1:,}; "
                            "expected room below 2**31: build the index again")
        new.rows = np.arange(first_row, first_row + len(new), dtype=np.int32)
        joined = _joined(old, np.flatnonzero(~known), new)
        source = {"file": pathlib.Path(ids).name, "items": len(new), "fingerprint": fingerprint}
        return _write(index, joined, [*index.info["made_from"], source])


def remove(directory: str | os.PathLike, items: str | os.PathLike, *, missing_ok: bool = False
           ) -> CodeIndex:
    """Takes items out of an index.

    Args:
      directory: the index.
      items: Parquet with a column item_id, or text with an id a line.
      missing_ok: ids that the index does not have are passed over; otherwise they are an error.

    Returns the new state. Raises UserError for a damaged index, and if no item would be left; the
    index is then as before.
    """
    directory = pathlib.Path(directory)
    with _locked(directory) as index:
        gone = read_item_ids(items)
        old = index.contents()
        missing = ~_among(gone, old.item_ids)
        if missing.any() and not missing_ok:
            raise UserError(f"{items}: {int(missing.sum()):,} of its {len(gone):,} items are not in "
                            f"index {directory}, such as {_examples(gone, missing)}; expected items "
                            "of the index: correct the file, or pass --missing_ok")
        keep = np.flatnonzero(~_among(old.item_ids, gone))
        if not len(keep):
            raise UserError(f"{items} names all {len(old):,} items of index {directory}; expected "
                            "that some are left: delete the directory instead")
        source = {"file": pathlib.Path(items).name, "removed": len(old) - len(keep)}
        return _write(index, _joined(old, keep, None), [*index.info["made_from"], source])


def read_item_ids(path: str | os.PathLike) -> pa.Array:
    """Item ids of a Parquet file's column item_id, or of a text file; large_string [n]."""
    path = pathlib.Path(path)
    try:
        if path.suffix == ".parquet":
            found = pq.read_table(path, columns=["item_id"])["item_id"].combine_chunks()
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            found = pa.array([line.strip() for line in lines if line.strip()], pa.string())
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); expected Parquet with a column item_id, "
                        "or text with an item id a line: correct --ids") from error
    if not len(found):
        raise UserError(f"{path} names no item; expected at least one item id: correct --ids")
    return pc.unique(found.cast(pa.large_string()))


def _fit_vectors(new: IndexContents, index: CodeIndex, ids: str | os.PathLike) -> None:
    if index.vectors is None:
        new.vectors = None
        return
    width = index.vectors.shape[1]
    got = "none" if new.vectors is None else f"of width {new.vectors.shape[1]}"
    if new.vectors is None or new.vectors.shape[1] != width:
        raise UserError(f"{ids} has no representations that fit index {index.directory}: got "
                        f"{got}, expected width {width}: write the IDs with --embeddings")
    new.vectors = new.vectors.astype(index.vectors.dtype, copy=False)


def _joined(old: IndexContents, keep: np.ndarray, new: IndexContents | None) -> IndexContents:
    """The kept items, then the new ones."""
    vectors = old.vectors
    old.vectors = None  # ``take`` would read them all
    parts = [old.take(keep), *([new] if new is not None else [])]
    if vectors is not None:
        added = np.arange(len(old), len(old) + (0 if new is None else len(new)))
        arrays = [vectors, *([new.vectors] if new is not None else [])]
        vectors = StackedRows(arrays, np.concatenate([keep, added]))
    return IndexContents(
        np.concatenate([part.codes for part in parts]),
        pa.concat_arrays([part.item_ids for part in parts]),
        np.concatenate([part.rows for part in parts]),
        {name: np.concatenate([part.statistics[name] for part in parts])
         for name in old.statistics}, vectors)


def _write(index: CodeIndex, contents: IndexContents, made_from: list) -> CodeIndex:
    return write_index(index.directory, contents, model=index.info["model"],
                       codebook_size=index.codebook_size, made_from=made_from, overwrite=True)


def _among(ids: pa.Array, others: pa.Array) -> np.ndarray:
    return pc.is_in(ids, value_set=others).to_numpy(zero_copy_only=False)


def _examples(ids: pa.Array, chosen: np.ndarray) -> str:
    return ", ".join(map(repr, ids.take(pa.array(np.flatnonzero(chosen)[:EXAMPLES])).to_pylist()))
