"""Reads the IDs that a run, or ``gsid_jax.infer``, published: Parquet with ``codes`` a row."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.errors import UserError
from gsid_jax.evaluate import columns
from gsid_jax.id_files import KEY_COLUMN
from gsid_jax.index_contents import read_fingerprint

MADE_BY = "the final assignment or gsid_jax.infer"
BATCH_ROWS = 65536


@dataclasses.dataclass(frozen=True)
class PublishedIds:
    """IDs of items or queries in memory."""

    key: pa.ChunkedArray  # item_id or query
    codes: np.ndarray  # int32 [N, T]
    level_probs: np.ndarray  # float32 [N, T], probability of each code given those before it
    model: str  # hash of the model that made them


def read_ids(path: str | os.PathLike, kind: str = "item") -> PublishedIds:
    """Reads the IDs of 'item's or 'query's. UserError for a missing or broken file."""
    path = pathlib.Path(path)
    key = KEY_COLUMN[kind]
    table = columns.read_table(path, [key, "codes", "level_probs"], MADE_BY)
    codes = columns.code_matrix(table, path)
    _, probs = columns.flat_list(table, "level_probs")
    probs = probs.to_numpy(zero_copy_only=False).astype(np.float32)
    if probs.size != codes.size or not np.isfinite(probs).all():
        raise UserError(f"{path}: column level_probs holds {probs.size} finite numbers for "
                        f"{codes.size} codes; expected one each: run gsid_jax.infer again")
    return PublishedIds(table[key], codes, probs.reshape(codes.shape),
                        read_fingerprint(path)["model"])


def batches(path: str | os.PathLike, names: list[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Yields (columns ``names``, codes int32 [n, T]) part by part, in bounded memory."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; expected the file written by {MADE_BY}: correct the "
                        "path, or run that stage")
    try:
        schema = pq.read_schema(path).names
        absent = [name for name in (*names, "codes") if name not in schema]
        if absent:
            raise UserError(f"{path}: column {', '.join(absent)} is missing, got "
                            f"{', '.join(schema)}; expected what {MADE_BY} writes")
        levels = None
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=[*names, "codes"]):
            table = pa.table(batch)
            codes = columns.code_matrix(table, path)
            if levels not in (None, codes.shape[1]):
                raise UserError(f"{path} has IDs of {levels} and of {codes.shape[1]} codes; "
                                "expected the same number of levels in every row")
            levels = codes.shape[1]
            yield table, codes
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}); expected the file written by "
                        f"{MADE_BY}: run that stage again") from error
