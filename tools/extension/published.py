"""The published codes of a dataset's items and queries: what a new step builds on.

The dataset may have grown since: what has no published ID yet gets the codes that the published
model gives it now.
"""

import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsid_jax.encode import Encoder
from gsid_jax.errors import UserError
from gsid_jax.id_files import KEY_COLUMN
from gsid_jax.progress import Progress
from gsid_jax.published_ids import PublishedIds

TABLES = {"item": ("items.parquet", "text"), "query": ("queries.parquet", "query")}
CHUNK_ROWS = 8192


def align(published: PublishedIds, data_dir: pathlib.Path, kind: str) -> np.ndarray:
    """Row of each of the dataset's items or queries in ``published``; int64 [N], -1 if new."""
    keys = pq.read_table(data_dir / TABLES[kind][0], columns=[KEY_COLUMN[kind]]).column(0)
    known = published.key.combine_chunks()
    if pc.count_distinct(known).as_py() != len(known):
        raise UserError(f"the published IDs name some {KEY_COLUMN[kind]} more than once among "
                        f"{len(known)}; expected each once: run the final assignment again")
    rows = pc.index_in(keys.combine_chunks(), value_set=known)
    rows = rows.fill_null(pa.scalar(-1, rows.type))
    return rows.to_numpy(zero_copy_only=False).astype(np.int64)


def codes_to_keep(published: PublishedIds, rows: np.ndarray, levels: int, data_dir: pathlib.Path,
                  kind: str, encoder: Encoder) -> np.ndarray:
    """The first ``levels`` codes of every item or query, int32 [N, levels].

    Published ones as stored; the others, where ``rows`` is -1, as ``encoder`` gives them.
    """
    codes = np.where(rows[:, None] >= 0, published.codes[rows, :levels], 0).astype(np.int32)
    new = np.flatnonzero(rows < 0)
    if not len(new):
        return codes
    encoder.expect(len(new))
    progress = Progress(f"codes of new {kind}s", len(new))
    for chosen, texts in texts_of(data_dir, kind, new):
        encoded = encoder.encode(texts, kind, progress=progress)
        codes[chosen] = encoded["codes"][:, :levels]
    progress.finish()
    return codes


def texts_of(data_dir: pathlib.Path, kind: str, rows: np.ndarray
             ) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yields (rows, texts) part by part for ascending rows of the items or queries."""
    name, column = TABLES[kind]
    start = 0
    for batch in pq.ParquetFile(data_dir / name).iter_batches(CHUNK_ROWS, columns=[column]):
        first, last = np.searchsorted(rows, (start, start + len(batch)))
        if first < last:
            yield rows[first:last], batch.column(0).take(
                pa.array(rows[first:last] - start)).to_pylist()
        start += len(batch)
