"""The final assignment: semantic IDs and representations of all items and queries (paper 2.1)."""

import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow.parquet as pq

from gsid_jax.encode import Encoder
from gsid_jax.id_files import IdFile, InputRow
from gsid_jax.manifest import file_hash

BATCH_ROWS = 8192


def write_ids(encoder: Encoder, *, data_dir: str | os.PathLike, output_dir: str | os.PathLike,
              model_hash: str = "", fixed: Mapping[str, np.ndarray] | None = None
              ) -> dict[str, int]:
    """Writes the final IDs: each item and query decodes greedily by itself, nothing is forced.

    But ``fixed`` may force the first codes of each 'item' or 'query', int [N, C]: IDs that were
    published.

    Writes ``items.parquet``, ``queries.parquet`` (``gsid_jax.id_files``) and ``items.npy``,
    ``queries.npy``, float32 [N, D] representations, into RUN_DIR/ids. Row = item or query index.
    Resumable; files made from another model or dataset are replaced. Returns the rows by kind.
    """
    data_dir, output_dir = pathlib.Path(data_dir), pathlib.Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    counts = {}
    for kind, name in (("item", "items"), ("query", "queries")):
        table, vectors = data_dir / f"{name}.parquet", output_dir / f"{name}.npy"
        made_from = {"model": model_hash, "kind": kind, "table": file_hash(table)}
        codes = (fixed or {}).get(kind)
        if codes is not None:
            made_from["fixed"] = hashlib.sha256(np.ascontiguousarray(codes)).hexdigest()
        file = IdFile(output_dir / f"{name}.parquet", made_from, pq.read_metadata(table).num_rows)
        if not (file.complete() and vectors.exists()):
            file.open(overwrite=True)
            file.fill(encoder, kind, _table_rows(table, kind), embeddings=True,
                      label=f"final IDs of {name}", codes=codes)
            _write_embeddings(file, vectors, encoder.sizes.D)
            file.join(drop=["embedding"])
        counts[kind] = file.rows
    return counts


def _table_rows(table: pathlib.Path, kind: str) -> Iterator[InputRow]:
    key, column = ("item_id", "text") if kind == "item" else ("query", "query")
    row = 0
    for batch in pq.ParquetFile(table).iter_batches(BATCH_ROWS, columns=sorted({key, column})):
        for name, text in zip(batch.column(key).to_pylist(), batch.column(column).to_pylist()):
            yield InputRow(row, name, text)
            row += 1


def _write_embeddings(file: IdFile, path: pathlib.Path, width: int) -> None:
    partial = path.with_name(path.name + ".tmp")
    array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32,
                                      shape=(file.rows, width))
    start = 0
    for table in file.tables():
        values = table["embedding"].combine_chunks().flatten().to_numpy()
        array[start:start + len(table)] = values.reshape(len(table), width)
        start += len(table)
    array.flush()
    os.replace(partial, path)
