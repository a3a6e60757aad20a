"""What goes into a code index: items with IDs, statistics and representations, in row order."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsid_jax.errors import UserError
from gsid_jax.id_files import FINGERPRINT, path_string

BATCH_ROWS = 65_536
MAX_CODEBOOK = 65_536  # codes are kept as uint16


@dataclasses.dataclass
class IndexContents:
    """N items in some order, to be sorted by ID and written by ``code_index.write_index``.

    codes: uint16 [N, T]. item_ids: large_string [N], each once. rows: int32 [N], a number that
    stays with its item (the row in the file it came from). statistics: name -> float32 [N].
    vectors: float32 or float16 [N, D], or None.
    """

    codes: np.ndarray
    item_ids: pa.Array
    rows: np.ndarray
    statistics: dict[str, np.ndarray]
    vectors: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, chosen: np.ndarray) -> "IndexContents":
        """The items of int or bool [n], in that order."""
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        return IndexContents(
            self.codes[chosen], self.item_ids.take(pa.array(chosen)), self.rows[chosen],
            {name: values[chosen] for name, values in self.statistics.items()},
            None if self.vectors is None else self.vectors[chosen])

    def check_unique(self, source: str) -> None:
        """Raises UserError if an item id occurs twice."""
        if pc.count_distinct(self.item_ids).as_py() == len(self):
            return
        counted = pc.value_counts(self.item_ids)
        repeated = counted.filter(pc.greater(counted.field("counts"), 1))
        first = repeated[0].as_py()
        raise UserError(f"{source}: item id {first['values']!r} occurs {first['counts']} times, "
                        f"and {len(repeated) - 1} others repeatedly; expected each item once: "
                        "remove the repetitions")


def read_fingerprint(path: str | os.PathLike) -> dict[str, Any]:
    """What an IDs Parquet was made from; its 'model' is the hash of the model. UserError if the
    file is missing, unreadable or says nothing of it."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}; expected the IDs of items, as infer or the "
                        "pipeline writes them: correct the path")
    try:
        text = (pq.read_schema(path).metadata or {}).get(FINGERPRINT)
        fingerprint = json.loads(text) if text is not None else None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}); expected the IDs of items, as "
                        "infer or the pipeline writes them: write it again") from error
    if not isinstance(fingerprint, dict) or not fingerprint.get("model"):
        raise UserError(f"{path} does not say which model made its IDs (no {FINGERPRINT.decode()} "
                        "in its metadata); expected a file of infer or of the pipeline: write the "
                        "IDs again with python -m gsid_jax.infer --kind=item")
    return fingerprint


def read_ids(path: str | os.PathLike, codebook_size: int) -> IndexContents:
    """Reads the items of an IDs Parquet; its column ``embedding``, if there, gives the vectors.

    Raises UserError for missing columns, for a row without T codes, a code outside
    0..codebook_size - 1 or no item id (row, item and value in the message), and for repeated items.
    """
    file = pq.ParquetFile(path)
    names, total = file.schema_arrow.names, file.metadata.num_rows
    if missing := [name for name in ("item_id", "codes") if name not in names]:
        raise UserError(f"{path} has no column {', '.join(missing)} (it has {', '.join(names)}); "
                        "expected IDs of items: write them with python -m gsid_jax.infer "
                        "--kind=item")
    if not total:
        raise UserError(f"{path} has no rows; expected at least one item")
    codes = vectors = None
    rows, ids = np.arange(total, dtype=np.int32), []
    start = 0
    columns = [name for name in ("row", "item_id", "codes", "embedding") if name in names]
    for batch in file.iter_batches(BATCH_ROWS, columns=columns):
        stop = start + batch.num_rows
        part = _code_rows(batch, path, start, codebook_size, codes)
        codes = np.empty((total, part.shape[1]), np.uint16) if codes is None else codes
        codes[start:stop] = part
        if batch.column("item_id").null_count:
            raise UserError(f"{path}, row {start}: an item without id; expected one in every row")
        ids.append(batch.column("item_id").cast(pa.large_string()))
        if "row" in names:
            rows[start:stop] = batch.column("row").to_numpy(zero_copy_only=False)
        if "embedding" in names:
            values = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
            values = values.reshape(batch.num_rows, -1)
            vectors = np.empty((total, values.shape[1]), np.float32) if vectors is None else vectors
            vectors[start:stop] = values
        start = stop
    contents = IndexContents(codes, pa.concat_arrays(ids), rows, {}, vectors)
    contents.check_unique(str(path))
    return contents


def _code_rows(batch: pa.RecordBatch, path: str | os.PathLike, start: int, codebook_size: int,
               before: np.ndarray | None) -> np.ndarray:
    """Codes of one batch, checked; int [rows, T]."""
    array = batch.column("codes")
    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    levels = int(lengths[0]) if before is None else before.shape[1]
    wrong = np.flatnonzero((lengths != levels) | (lengths == 0))
    values = array.flatten()
    if len(wrong) or values.null_count:
        at = int(wrong[0]) if len(wrong) else 0
        raise UserError(f"{path}, row {start + at}: got {lengths[at]} codes, expected {levels} as "
                        "in the rows before, none of them empty: write the IDs again")
    codes = values.to_numpy(zero_copy_only=False).reshape(len(lengths), levels)
    outside = np.flatnonzero(((codes < 0) | (codes >= codebook_size)).any(axis=1))
    if len(outside):
        at = int(outside[0])
        raise UserError(
            f"{path}, row {start + at} (item {batch.column('item_id')[at]}): ID "
            f"{path_string(codes[at].tolist())} has a code outside the codebook; expected codes "
            f"from 0 to {codebook_size - 1}: the IDs are of another model, or --codebook_size is "
            "wrong")
    return codes


def join_statistics(contents: IndexContents, path: str | os.PathLike,
                    columns: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Reads numbers of the items from a Parquet file with ``item_id``: name -> float32 [N].

    ``columns``: which; default: every numeric column but ``item_index`` and ``row``. Items that the
    file does not have get 0, as do empty values. Raises UserError for a file without such columns.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"statistics file {path} cannot be read ({error}); expected Parquet with "
                        "item_id and numbers: correct --statistics") from error
    numeric = [field.name for field in table.schema
               if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
    columns = columns or [name for name in numeric if name not in ("item_index", "row")]
    unknown = [name for name in columns if name not in numeric]
    if unknown or not columns or "item_id" not in table.column_names:
        raise UserError(f"statistics file {path} has no numbers in {', '.join(unknown) or 'it'} "
                        f"(its columns: {', '.join(table.column_names)}); expected item_id and "
                        "numeric columns: correct --statistics or --columns")
    keys = table["item_id"].combine_chunks().cast(pa.large_string())
    where = pc.index_in(contents.item_ids, value_set=keys)
    found = where.is_valid().to_numpy(zero_copy_only=False)
    source = where.fill_null(0).to_numpy(zero_copy_only=False)
    statistics = {}
    for name in columns:
        values = table[name].fill_null(0).to_numpy().astype(np.float32)
        if not np.isfinite(values).all():
            raise UserError(f"statistics file {path}: column {name} holds NaN or infinity; "
                            "expected finite numbers")
        statistics[name] = np.where(found, values[source], 0).astype(np.float32)
    return statistics


def interaction_statistics(pairs: pa.Table, conversions: np.ndarray) -> Mapping[str, np.ndarray]:
    """Statistics of a dataset's items: ``conversions`` and ``clicks``, the summed weight of its
    training interactions; float32 [N] in the order of the dataset."""
    clicks = np.bincount(pairs["item_index"].to_numpy(), pairs["weight"].to_numpy(),
                         minlength=len(conversions))
    return {"conversions": conversions.astype(np.float32), "clicks": clicks.astype(np.float32)}
