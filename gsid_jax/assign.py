"""The assignment pass after step t: every item and query gets its code z_t (paper 2.2.2).

Codes before t stay as they were fixed; the step's model adds one. Results are memory-mapped files
with one row per item or query, so memory does not grow with the catalogue. The pass writes into
``<output>.partial``, resumes there after a kill, and renames the directory when all is done.
"""

import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gsid_jax import step_records
from gsid_jax.encode import Encoder
from gsid_jax.errors import UserError
from gsid_jax.evaluate.codes import code_health, id_counts
from gsid_jax.manifest import file_hash, write_json
from gsid_jax.progress import Progress
from gsid_jax.step_records import StoredCodes

CHUNK_ROWS = 8192
TABLES = {"item": ("items.parquet", "text"), "query": ("queries.parquet", "query")}
ARRAYS = {"codes": np.uint16, "soft": np.float16, "soft_ids": np.uint16}
SOFT_SOURCES = ("latest", "first")


def assign(encoder: Encoder, *, data_dir: str | os.PathLike, output_dir: str | os.PathLike,
           previous_dir: str | os.PathLike | None = None, model_hash: str = "",
           group_size: int = 32, seed: int = 0, soft: str = "latest", write_records: bool = True,
           fixed: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """Assigns z_t to every item and query of a dataset, with the model of step t.

    Args:
      encoder: the model after step t; its IDs have t levels.
      data_dir: the dataset (``tools/build_dataset``).
      output_dir: RUN_DIR/step_t/assignment, which must not exist yet.
      previous_dir: the assignment of step t - 1; None for t = 1. Its codes are forced.
      model_hash: tells this model from others; an unfinished pass of another is not continued.
      group_size: S, items of one prefix side by side in the next step's batches.
      seed: of the order of the next step's records.
      soft: where the distributions of levels before t come from: 'latest', this model, or 'first',
        the model that fixed the level.
      write_records: False after the last step, which has no next one.
      fixed: 'item' and 'query' codes int [N, C], C <= T, forced in place of those of an assignment
        before, such as IDs that were published.

    Writes ``item_codes.npy`` and ``query_codes.npy`` uint16 [N, t], ``*_soft.npy`` float16 and
    ``*_soft_ids.npy`` uint16 [N, t, m], the dataset ``gsid_step`` and ``stats.json``. Returns the
    statistics: 'codes' by level, 'ids', 'keep' (share of items whose forced codes are the model's
    own choice), 'agreement' (share of those codes that are); the latter two are None without forced
    codes.
    """
    begun = time.monotonic()
    data_dir, output_dir = pathlib.Path(data_dir), pathlib.Path(output_dir)
    sizes = encoder.sizes
    if output_dir.exists():
        raise UserError(f"assignment {output_dir} exists already; expected a new directory: remove "
                        "it to assign again")
    if soft not in SOFT_SOURCES:
        raise UserError(f"assign.assign.soft is {soft!r}; expected one of {SOFT_SOURCES}")
    if not sizes.T:
        raise UserError("the model has no codebooks; expected a GSIDModel to assign codes with: "
                        "choose the checkpoint of a step")
    partial = output_dir.with_name(output_dir.name + ".partial")
    rows = {side: pq.read_metadata(data_dir / table).num_rows
            for side, (table, _) in TABLES.items()}
    made_from = {"model": model_hash, "sizes": [sizes.T, sizes.K, sizes.m], "rows": rows,
                 "soft": soft,
                 "tables": [file_hash(data_dir / table) for table, _ in TABLES.values()]}
    if fixed is not None:
        made_from["fixed"] = {side: hashlib.sha256(np.ascontiguousarray(codes)).hexdigest()
                              for side, codes in fixed.items()}
    _open_partial(partial, made_from)
    stored, states = {}, {}
    for side, (table, column) in TABLES.items():
        previous = None
        if previous_dir is not None:
            previous = load(previous_dir, side)
        if fixed is not None:
            previous = StoredCodes(fixed[side], None, None)
        _check_previous(previous, previous_dir, rows[side], sizes, fixed is not None)
        side_pass = _Pass(partial, side, rows[side], encoder, previous, soft)
        side_pass.run(data_dir / table, column)
        stored[side], states[side] = load(partial, side), side_pass.state
    records = {}
    if write_records:
        records = step_records.write_step_records(partial, data_dir, stored["item"],
                                                  stored["query"], sizes.K, group_size, seed)
    stats = _stats(stored["item"].codes, sizes.K, states) | {
        "queries": rows["query"], "records": records, "group_size": group_size,
        "seconds": round(time.monotonic() - begun, 2)}
    for file in (*partial.glob("*_progress.json"), partial / "made_from.json"):
        file.unlink()
    write_json(partial / "stats.json", stats)
    os.replace(partial, output_dir)
    return stats


def load(assignment_dir: str | os.PathLike, side: str) -> StoredCodes:
    """Memory-maps the arrays of 'item' or 'query'. UserError if one is missing."""
    arrays = {}
    for name in ARRAYS:
        path = pathlib.Path(assignment_dir) / f"{side}_{name}.npy"
        if not path.exists():
            raise UserError(f"assignment file {path} is missing; expected what is written after a "
                            "step: run the assignment of that step again")
        arrays[name] = np.load(path, mmap_mode="r")
    return StoredCodes(**arrays)


def _open_partial(partial: pathlib.Path, made_from: dict[str, Any]) -> None:
    """Keeps an unfinished pass that was made from the same model and data, or starts a new one."""
    known = partial / "made_from.json"
    if not known.exists() or json.loads(known.read_text(encoding="utf-8")) != made_from:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_json(known, made_from)


def _check_previous(previous: StoredCodes | None, directory: Any, rows: int, sizes: Any,
                    fixed: bool) -> None:
    got = (rows, 0) if previous is None else previous.codes.shape
    if fixed:
        if got[0] != rows or not 1 <= got[1] <= sizes.T:
            raise UserError(f"the codes to keep are {list(got)}; expected {rows} rows, one per row "
                            f"of the dataset, of 1 to {sizes.T} levels: give those of this dataset")
        return
    if got != (rows, sizes.T - 1):
        raise UserError(f"the assignment before, {directory}, holds codes {list(got)}; expected "
                        f"{[rows, sizes.T - 1]}, one row per row of the dataset and one level less "
                        "than the model: give the assignment of the step before, on the same data")


class _Pass:
    """Codes and soft distributions of one side, filled chunk by chunk and resumable."""

    def __init__(self, directory: pathlib.Path, side: str, rows: int, encoder: Encoder,
                 previous: StoredCodes | None, soft: str):
        sizes = encoder.sizes
        self._side, self._rows, self._encoder, self._previous = side, rows, encoder, previous
        self._keep_soft = soft == "first" and previous is not None
        self._state_path = directory / f"{side}_progress.json"
        levels = 0 if previous is None else previous.codes.shape[1]
        self.state = {"rows": 0, "agree": [0] * levels, "keep": 0}
        if self._state_path.exists():
            self.state = json.loads(self._state_path.read_text(encoding="utf-8"))
        self._files = {}
        for name, dtype in ARRAYS.items():
            shape = (rows, sizes.T) + (() if name == "codes" else (sizes.m,))
            path = directory / f"{side}_{name}.npy"
            self._files[name] = (
                np.load(path, mmap_mode="r+") if self.state["rows"] else
                np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape))

    def run(self, table: pathlib.Path, column: str) -> None:
        """Encodes the rows that are not done yet."""
        self._encoder.expect(self._rows)
        progress = Progress(f"assigning {self._side} codes", self._rows, self.state["rows"])
        for start, texts in _text_chunks(table, column, self.state["rows"]):
            rows = slice(start, start + len(texts))
            encoded = self._encode(texts, rows, progress)
            for name, file in self._files.items():
                file[rows] = encoded[name]
                file.flush()
            self.state["rows"] = rows.stop
            write_json(self._state_path, self.state)
        progress.finish()

    def _encode(self, texts: list[str], rows: slice, progress: Progress) -> dict[str, np.ndarray]:
        if self._previous is None:
            return self._encoder.encode(texts, self._side, progress=progress)
        fixed = np.asarray(self._previous.codes[rows], np.int32)
        encoded = self._encoder.encode(texts, self._side, fixed, progress)
        levels = fixed.shape[1]
        same = encoded["greedy_codes"][:, :levels] == fixed
        self.state["agree"] = (np.array(self.state["agree"]) + same.sum(axis=0)).tolist()
        self.state["keep"] += int(same.all(axis=1).sum())
        if self._keep_soft:
            for name in ("soft", "soft_ids"):
                encoded[name][:, :levels] = getattr(self._previous, name)[rows]
        return encoded


def _text_chunks(table: pathlib.Path, column: str, skip: int) -> Iterator[tuple[int, list[str]]]:
    """Yields (first row, texts) for the chunks from row ``skip``, where a chunk begins."""
    start = 0
    for batch in pq.ParquetFile(table).iter_batches(CHUNK_ROWS, columns=[column]):
        if start >= skip:
            yield start, batch.column(0).to_pylist()
        start += len(batch)


def _stats(codes: np.ndarray, codebook_size: int, states: dict[str, dict[str, Any]]
           ) -> dict[str, Any]:
    rows, levels = codes.shape
    agree = {side: [count / state["rows"] for count in state["agree"]]
             for side, state in states.items()}
    keep = {side: state["keep"] / state["rows"] if state["agree"] else None
            for side, state in states.items()}
    return {
        "level": levels, "codebook_size": codebook_size, "items": rows,
        "codes": code_health(np.asarray(codes)), "ids": id_counts(np.asarray(codes)),
        "keep": keep["item"], "query_keep": keep["query"],
        "agreement": float(np.mean(agree["item"])) if agree["item"] else None,
        "agreement_by_level": {f"l{j + 1}": share for j, share in enumerate(agree["item"])},
    }
