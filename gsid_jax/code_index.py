"""The code index: semantic ID -> items, saved and memory-mapped (paper section 5).

    python -m gsid_jax.code_index build --run_dir=RUN
    python -m gsid_jax.code_index build --ids=ids.parquet --codebook_size=128 --output=INDEX
    python -m gsid_jax.code_index show --index=RUN/index
    python -m gsid_jax.code_index verify --index=RUN/index
    python -m gsid_jax.code_index append --index=RUN/index --ids=new_ids.parquet
    python -m gsid_jax.code_index remove --index=RUN/index --ids=sold.txt

The index (``index_files``) holds the trie of valid IDs and, sorted by ID, the items: number (row),
statistics such as conversions, item id and, if given, representation. The items of one ID stand
side by side, so an inverted list is a range. An index is never changed, only replaced by another.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
import numpy as np
import pyarrow as pa

from gsid_jax import index_files, launch
from gsid_jax.errors import UserError
from gsid_jax.index_contents import (MAX_CODEBOOK, IndexContents, interaction_statistics,
                                     join_statistics, read_fingerprint, read_ids)
from gsid_jax.trie import Trie, build_trie

MAX_STATISTICS = 5  # with the row number: 24 bytes an item
VECTOR_ROWS = 65_536


class CodeIndex:
    """An index on disk, memory-mapped: opening reads next to nothing.

    Items have places 0..N-1, in the order of their IDs; those of ID number i (``Trie``) are places
    first_item[i] to first_item[i + 1] - 1.

    Attributes: trie; first_item int32 [N_T + 1]; rows int32 [N]; statistics name -> float32 [N];
    vectors float [N, D] or None; info: what index.json says ('model', 'codebook_size', ...).
    """

    def __init__(self, directory: str | os.PathLike, verify: bool = False):
        """Opens the index; ``verify`` reads everything and compares checksums.

        Raises UserError for an index that is missing, damaged or cut short.
        """
        self.directory = pathlib.Path(directory)
        self.info = index_files.read_info(directory)
        arrays = index_files.load_arrays(directory, self.info, verify)
        levels = range(self.info["levels"])
        self.trie = Trie(tuple(arrays[f"codes_{t + 1}"] for t in levels),
                         tuple(arrays[f"children_{t}"] for t in levels),
                         tuple(self.info["fanout"]))
        self.first_item = arrays["first_item"]
        self.rows = arrays["rows"]
        self.statistics = {name: arrays[f"statistic_{name}"] for name in self.info["statistics"]}
        self.vectors = arrays.get("vectors")
        self._id_offsets, self._id_bytes = arrays["item_id_offsets"], arrays["item_id_bytes"]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.info["codebook_size"]

    def item_ids(self) -> pa.Array:
        """All item ids by place, large_string [N], without a copy."""
        return pa.Array.from_buffers(pa.large_string(), len(self), [
            None, pa.py_buffer(self._id_offsets), pa.py_buffer(self._id_bytes)])

    def items_of(self, number: int) -> slice:
        """The places of the items of an ID."""
        return slice(int(self.first_item[number]), int(self.first_item[number + 1]))

    def id_of_place(self) -> np.ndarray:
        """The ID number of every place, int64 [N]."""
        return np.repeat(np.arange(self.trie.num_ids), np.diff(self.first_item))

    def contents(self) -> IndexContents:
        """What the index was built from, in the order of the IDs, to build another from."""
        codes = np.repeat(self.trie.ids().astype(np.uint16), np.diff(self.first_item), axis=0)
        return IndexContents(codes, self.item_ids(), np.asarray(self.rows),
                             {name: np.asarray(values) for name, values in
                              self.statistics.items()}, self.vectors)

    def check_model(self, model_hash: str, codebook_size: int, levels: int) -> None:
        """Raises UserError if the IDs were not made by this model."""
        found = (self.info["model"], self.codebook_size, self.trie.num_levels)
        if found != (model_hash, codebook_size, levels):
            raise UserError(
                f"index {self.directory} holds IDs of another model: got model {found[0][:12]}... "
                f"with {found[2]} levels of {found[1]} codes, expected {model_hash[:12]}... with "
                f"{levels} levels of {codebook_size}: build the index from this model's IDs "
                "(python -m gsid_jax.code_index build), or use the run it belongs to")

    def summary(self) -> str:
        """Counts and bytes in one line."""
        n, per_item = len(self), 4 + 4 * len(self.statistics)
        text = (f"{self.directory}: {n:,} items, {self.trie.num_ids:,} IDs of "
                f"{self.trie.num_levels} levels of {self.codebook_size} codes; {per_item} bytes an "
                f"item (row number and {', '.join(self.statistics) or 'no statistics'}), trie and "
                f"list offsets {self.trie.nbytes + self.first_item.nbytes:,} bytes, item ids "
                f"{self._id_offsets.nbytes + self._id_bytes.nbytes:,} bytes")
        if self.vectors is not None:
            text += f", representations {self.vectors.nbytes:,} bytes"
        return f"{text}; model {self.info['model'][:12]}"


def write_index(directory: str | os.PathLike, contents: IndexContents, *, model: str,
                codebook_size: int, made_from: Sequence[Mapping[str, Any]] = (),
                overwrite: bool = False) -> CodeIndex:
    """Sorts items by ID and writes the index; whatever lay there is in force until it is complete.

    Args:
      contents: the items; those of one ID keep their order.
      model: hash of the model that made the IDs (``TrainedModel.hash``).
      codebook_size: K.
      made_from: what to record of the sources.
      overwrite: replaces an index that lies there, which is an error otherwise.

    Raises UserError for too many statistics, a K that cannot be, no items, and an index in the way.
    """
    if not overwrite and index_files.exists(directory):
        raise UserError(f"there is an index in {directory} already; expected a new place: choose "
                        "another --output, or pass --overwrite")
    if len(contents.statistics) > MAX_STATISTICS:
        raise UserError(f"got {len(contents.statistics)} statistics "
                        f"({', '.join(contents.statistics)}); expected at most {MAX_STATISTICS}, "
                        "24 bytes an item with its row number: choose with --columns")
    if not 1 <= codebook_size <= MAX_CODEBOOK:
        raise UserError(f"codebook size {codebook_size}; expected 1 to {MAX_CODEBOOK}")
    if not 0 < len(contents) < 2**31:
        raise UserError(f"got {len(contents):,} items; expected 1 to {2**31 - 1:,}")
    order = np.lexsort(contents.codes.T[::-1])  # stable; uint16 columns make it a radix sort
    trie, first_item = build_trie(contents.codes[order])
    info = {"model": model, "levels": trie.num_levels, "codebook_size": codebook_size,
            "items": len(contents), "ids": trie.num_ids, "fanout": list(trie.fanout),
            "statistics": sorted(contents.statistics), "made_from": list(map(dict, made_from))}
    with index_files.ArrayFiles(directory) as files:
        for level in range(trie.num_levels):
            files.write(f"codes_{level + 1}", trie.codes[level])
            files.write(f"children_{level}", trie.children[level])
        files.write("first_item", first_item)
        files.write("rows", contents.rows[order].astype(np.int32))
        for name, values in contents.statistics.items():
            files.write(f"statistic_{name}", values[order].astype(np.float32))
        _write_strings(files, contents.item_ids, order)
        if contents.vectors is not None:
            _write_vectors(files, contents.vectors, order)
        files.publish(info)
    return CodeIndex(directory)


def _write_strings(files: index_files.ArrayFiles, strings: pa.Array, order: np.ndarray) -> None:
    strings = strings.take(pa.array(order))
    _, offsets, data = strings.buffers()  # a taken array has no offset of its own
    files.write("item_id_offsets", np.frombuffer(offsets, np.int64, len(strings) + 1))
    files.write("item_id_bytes", np.frombuffer(data, np.uint8) if data.size else
                np.zeros(1, np.uint8))


def _write_vectors(files: index_files.ArrayFiles, vectors: np.ndarray, order: np.ndarray) -> None:
    array = files.create("vectors", vectors.shape, vectors.dtype)
    for start in range(0, len(order), VECTOR_ROWS):
        array[start:start + VECTOR_ROWS] = vectors[order[start:start + VECTOR_ROWS]]
    array.flush()


def build(ids: str | os.PathLike, output: str | os.PathLike, *, codebook_size: int,
          statistics: str | os.PathLike | None = None, columns: Sequence[str] = (),
          extra: Mapping[str, np.ndarray] | None = None, vectors: np.ndarray | None = None,
          model: str | None = None, overwrite: bool = False) -> CodeIndex:
    """Builds an index from an IDs Parquet (``id_files``).

    ``statistics``, ``columns``: see ``join_statistics``. ``extra`` and ``vectors``: statistics and
    representations by row of the Parquet. ``model``: the only model whose IDs are accepted.

    Raises UserError as ``read_ids`` and ``write_index`` do, and for IDs of another model.
    """
    fingerprint = read_fingerprint(ids)
    check_same_model(ids, fingerprint, model or fingerprint["model"])
    contents = read_ids(ids, codebook_size)
    contents.statistics.update(extra or {})
    if statistics is not None:
        contents.statistics.update(join_statistics(contents, statistics, columns))
    if vectors is not None:
        if len(vectors) != len(contents):
            raise UserError(f"{ids} has {len(contents):,} rows but there are {len(vectors):,} "
                            "representations; expected one a row: write the IDs again")
        contents.vectors = vectors
    source = {"file": pathlib.Path(ids).name, "items": len(contents), "fingerprint": fingerprint}
    return write_index(output, contents, model=fingerprint["model"], codebook_size=codebook_size,
                       made_from=[source], overwrite=overwrite)


def check_same_model(path: str | os.PathLike, fingerprint: Mapping[str, Any], model: str) -> None:
    """Raises UserError if the IDs of a Parquet were made by another model."""
    if fingerprint["model"] != model:
        raise UserError(f"{path} holds IDs of another model: got {fingerprint['model'][:12]}..., "
                        f"expected {model[:12]}...: write the IDs again with this model (python -m "
                        "gsid_jax.infer --kind=item)")


def build_for_run(run_dir: str | os.PathLike, trained: Any, output: str | os.PathLike | None = None,
                  *, statistics: str | os.PathLike | None = None, columns: Sequence[str] = (),
                  overwrite: bool = False) -> CodeIndex:
    """Builds the index of a run's items, RUN/ids/items.parquet, with their representations.

    ``trained``: the run's ``TrainedModel``. Without ``statistics``: conversions and clicks of the
    training interactions. ``output``: default RUN/index.
    """
    from gsid_jax.evaluate import columns as sidecars

    run_dir = pathlib.Path(run_dir)
    ids, data = run_dir / "ids" / "items.parquet", run_dir / "data"
    config = trained.model.module.config
    extra = None
    if statistics is None:
        items = sidecars.read_table(data / "items.parquet", ["conversions"], "the dataset builder")
        pairs = sidecars.read_table(data / "train_pairs.parquet", ["item_index", "weight"],
                                    "the dataset builder")
        extra = interaction_statistics(pairs, items["conversions"].to_numpy())
    read_fingerprint(ids)  # before the vectors, whose absence says less
    vectors = sidecars.vectors(run_dir / "ids" / "items.npy",
                               sidecars.read_table(ids, ["item_id"], "the pipeline").num_rows)
    return build(ids, output or run_dir / "index", codebook_size=config.codebook_size,
                 statistics=statistics, columns=columns, extra=extra, vectors=vectors,
                 model=trained.hash, overwrite=overwrite)


def _build_command(values: Any) -> str:
    if values.run_dir:
        from gsid_jax import trained_model
        output = pathlib.Path(values.output or pathlib.Path(values.run_dir) / "index")
        if index_files.exists(output) and not values.overwrite:
            raise UserError(f"there is an index in {output} already; expected a new place: choose "
                            "another --output, or pass --overwrite")
        index = build_for_run(values.run_dir, trained_model.load_run(values.run_dir), output,
                              statistics=values.statistics, columns=values.columns,
                              overwrite=values.overwrite)
    elif values.ids and values.codebook_size and values.output:
        index = build(values.ids, values.output, codebook_size=values.codebook_size,
                      statistics=values.statistics, columns=values.columns,
                      overwrite=values.overwrite)
    else:
        raise UserError("build: nothing to build from; expected --run_dir=RUN, or "
                        "--ids=FILE.parquet --codebook_size=K --output=DIRECTORY")
    return index.summary()


def _show_command(values: Any) -> str:
    return CodeIndex(_index_flag(values)).summary()


def _verify_command(values: Any) -> str:
    return f"{CodeIndex(_index_flag(values), verify=True).summary()}; every checksum agrees"


def _append_command(values: Any) -> str:
    from gsid_jax import index_updates
    return index_updates.append(_index_flag(values), _ids_flag(values),
                                statistics=values.statistics, replace=values.replace).summary()


def _remove_command(values: Any) -> str:
    from gsid_jax import index_updates
    return index_updates.remove(_index_flag(values), _ids_flag(values),
                                missing_ok=values.missing_ok).summary()


def _ids_flag(values: Any) -> str:
    if not values.ids:
        raise UserError("--ids is missing; expected --ids=FILE, the items to append or remove")
    return values.ids


def _index_flag(values: Any) -> str:
    if not values.index:
        raise UserError("--index is missing; expected --index=DIRECTORY, such as RUN/index")
    return values.index


COMMANDS = {"build": _build_command, "show": _show_command, "verify": _verify_command,
            "append": _append_command, "remove": _remove_command}


def define_flags() -> None:
    """Defines the flags of the command line."""
    flags.DEFINE_string("run_dir", None, "Directory of a pipeline run.")
    flags.DEFINE_string("ids", None, "IDs Parquet of items: instead of a run, or to append; or "
                                     "item ids to remove, Parquet or a text file.")
    flags.DEFINE_integer("codebook_size", None, "K, with --ids.")
    flags.DEFINE_string("output", None, "Directory of the index; default RUN/index.")
    flags.DEFINE_string("index", None, "Directory of an index, to show or verify.")
    flags.DEFINE_string("statistics", None, "Parquet with item_id and numbers of the items.")
    flags.DEFINE_list("columns", [], "Columns of --statistics to keep; default: all numbers.")
    flags.DEFINE_bool("overwrite", False, "Replaces an index that lies there.")
    flags.DEFINE_bool("replace", False, "append: items in the index already get the new ID.")
    flags.DEFINE_bool("missing_ok", False, "remove: passes over ids that the index has not.")


def main(argv: list[str]) -> None:
    """Runs what the command line says."""
    if len(argv) != 2 or argv[1] not in COMMANDS:
        raise UserError(f"got {' '.join(argv[1:]) or 'no command'}; expected one of "
                        f"{', '.join(COMMANDS)}: python -m gsid_jax.code_index build --run_dir=RUN")
    print(COMMANDS[argv[1]](flags.FLAGS))


if __name__ == "__main__":
    define_flags()
    launch.run(main)
