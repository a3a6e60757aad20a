"""One way to give items and queries IDs and vectors, ready to be compared with others."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gsid_jax.errors import UserError
from gsid_jax.evaluate import columns
from gsid_jax.evaluate.catalogue import Catalogue
from gsid_jax.manifest import read_json

AGAIN = "run that step's assignment again"
ASSIGNMENT = "the final assignment"


@dataclasses.dataclass(frozen=True)
class Method:
    """What a method says about a catalogue; row = item or query index.

    A method without IDs (a dense encoder) or without vectors (an ID baseline) leaves them None.
    A lexical method has rankings instead of vectors.
    """

    name: str
    item_codes: np.ndarray | None = None  # int [N, T]
    query_codes: np.ndarray | None = None  # int [Q, T]
    item_vectors: np.ndarray | None = None  # float [N, D], may be memory-mapped
    query_vectors: np.ndarray | None = None  # float [Q, D]
    rankings: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # 'q2i', 'i2i' -> int64 [triggers, DEPTH] of item indices, -1 where there are no more
    codebook_size: int | None = None  # K, if known
    level_sizes: tuple[int, ...] | None = None  # codes per level, where they differ from K
    nested: bool = True  # False: each level is a clustering of its own, not a refinement
    # per level, as far as known: 'keep', the share of items whose earlier codes survived the step,
    # and 'agreement' of the codes between consecutive evaluations
    level_stats: Mapping[int, Mapping[str, float]] = dataclasses.field(default_factory=dict)


def load_run(run_dir: pathlib.Path, catalogue: Catalogue, name: str = "GSID",
             codebook_size: int | None = None) -> Method:
    """Reads a run's ``ids/``; UserError if counts, ids, levels or widths do not fit."""
    ids = run_dir / "ids"
    item_codes = _load_codes(ids / "items.parquet", "item_id", catalogue.item_id)
    query_codes = _load_codes(ids / "queries.parquet", "query", catalogue.query)
    if item_codes.shape[1] != query_codes.shape[1]:
        raise UserError(f"{ids / 'queries.parquet'} has codes of {query_codes.shape[1]} levels; "
                        f"expected {item_codes.shape[1]} as in {ids / 'items.parquet'}: run the "
                        "final assignment of both again")
    item_vectors = columns.vectors(ids / "items.npy", len(item_codes))
    query_vectors = columns.vectors(ids / "queries.npy", len(query_codes), item_vectors.shape[1])
    stats = {t: read_json(run_dir / f"step_{t}" / "assignment" / "stats.json", AGAIN)
             for t in range(1, item_codes.shape[1] + 1)}
    sizes = [each["codebook_size"] for each in stats.values() if "codebook_size" in each]
    size = codebook_size or (sizes[0] if sizes else None)
    largest = max(int(item_codes.max()), int(query_codes.max()))
    if size is not None and largest >= size:
        raise UserError(f"{ids / 'items.parquet'} holds code {largest}; expected 0 to {size - 1}, "
                        f"the codebook size of {run_dir}: run the final assignment again")
    levels = {t: {key: float(each[key]) for key in ("keep", "agreement")
                  if isinstance(each.get(key), (int, float))} for t, each in stats.items()}
    return Method(name, item_codes, query_codes, item_vectors, query_vectors, codebook_size=size,
                  level_stats=levels)


def _load_codes(path: pathlib.Path, key: str, expected: pa.ChunkedArray) -> np.ndarray:
    table = columns.read_table(path, [key, "codes"], ASSIGNMENT)
    if len(table) != len(expected):
        raise UserError(f"{path} has {len(table)} rows; expected {len(expected)}, one per row of "
                        "the dataset: the IDs were made from another dataset, run infer again")
    same = pc.fill_null(pc.equal(table[key].combine_chunks(), expected.combine_chunks()), False)
    if not pc.all(same).as_py():
        row = pc.index(same, False).as_py()
        raise UserError(f"{path}: row {row} holds {key} {table[key][row].as_py()!r}; expected "
                        f"{expected[row].as_py()!r} as in the dataset: the IDs were made from "
                        "another dataset, run infer again")
    return columns.code_matrix(table, path)
