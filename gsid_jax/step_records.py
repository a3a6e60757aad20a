"""Writes the next step's training records: the catalogue's, with the codes that are fixed now.

Every record carries its prefix z_<=t and the soft code distributions stored after step t, for its
item and each of its queries, in the order of ``gsid_jax.step_order``.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gsid_jax import quiet, step_order
from gsid_jax.errors import UserError
from tasks import catalogue_builder, step_builder

tf = quiet.tensorflow()
import tensorflow_datasets as tfds  # pylint: disable=wrong-import-position

SHARD_RECORDS = 1 << 16
READ_RECORDS = 512
RECORD_SPEC = {
    **{name: tf.io.FixedLenFeature([], tf.string) for name in ("item_id", "text")},
    "item_index": tf.io.FixedLenFeature([], tf.int64),
    "queries": tf.io.RaggedFeature(tf.string),
    "query_ids": tf.io.RaggedFeature(tf.int64),
    "query_weights": tf.io.RaggedFeature(tf.float32),
}


@dataclasses.dataclass(frozen=True)
class StoredCodes:
    """What an assignment holds of one side; may be memory-mapped. Row = item or query index."""
    codes: np.ndarray  # uint16 [N, t]
    soft: np.ndarray  # float16 [N, t, m]
    soft_ids: np.ndarray  # uint16 [N, t, m]

    def dense_soft(self, rows: np.ndarray, codebook_size: int) -> np.ndarray:
        """Soft distributions over all K codes, zero beyond the m likeliest; float16 [n, t, K]."""
        soft, ids = self.soft[rows], self.soft_ids[rows].astype(np.int64)
        dense = np.zeros((*soft.shape[:2], codebook_size), np.float16)
        np.put_along_axis(dense, ids, soft, axis=-1)
        return dense


def write_step_records(directory: pathlib.Path, data_dir: pathlib.Path, items: StoredCodes,
                       queries: StoredCodes, codebook_size: int, group_size: int, seed: int
                       ) -> dict[str, int]:
    """Writes ``directory/gsid_step``; returns the number of records by split.

    The training split is in window order, so that a sequential read gives same-prefix groups; the
    validation split keeps the order of the catalogue. Memory: the codes and one bucket of records.
    """
    builder = catalogue_builder.load_catalogue_dataset(data_dir, "train")
    ranks = _ranks(data_dir, items.codes, group_size, seed)
    count = int((ranks >= 0).sum())
    if count != builder.info.splits["train"].num_examples:
        raise UserError(
            f"dataset {builder.data_dir} has {builder.info.splits['train'].num_examples} training "
            f"records, but {data_dir / 'items.parquet'} marks {count} items for training; expected "
            "the same number: build the dataset again")
    buckets = directory / "buckets"
    ranked = ((int(ranks[record["item_index"]]), record) for record in _records(builder, "train"))
    splits = {"train": step_order.reorder(ranked, count, buckets)}
    if "validation" in builder.info.splits:
        splits["validation"] = _records(builder, "validation")

    def with_codes(records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for record in records:
            item = np.asarray([record["item_index"]])
            rows = record["query_ids"] - 1
            yield {**record, "item_codes": items.codes[item[0]], "query_codes": queries.codes[rows],
                   "item_soft": items.dense_soft(item, codebook_size)[0],
                   "query_soft": queries.dense_soft(rows, codebook_size)}

    window = step_order.WINDOW_GROUPS * group_size
    written = step_builder.write_step_dataset(
        directory, {split: with_codes(records) for split, records in splits.items()},
        num_levels=items.codes.shape[1], codebook_size=codebook_size,
        shard_records=-(-SHARD_RECORDS // window) * window)
    buckets.rmdir()
    return written


def _ranks(data_dir: pathlib.Path, codes: np.ndarray, group_size: int, seed: int) -> np.ndarray:
    """Place of each item among the training records; int64 [N], -1 where it is none of them."""
    flags = pq.read_table(data_dir / "items.parquet", columns=["seen", "validation"])
    seen, validation = (flags[name].to_numpy(zero_copy_only=False) for name in flags.column_names)
    training = np.flatnonzero(seen & ~validation)
    order = step_order.window_order(np.asarray(codes[training]), group_size, seed)
    ranks = np.full(len(seen), -1, np.int64)
    ranks[training[order]] = np.arange(len(training))
    return ranks


def _records(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[dict[str, Any]]:
    """The catalogue's records, parsed many at a time, which is several times faster than TFDS."""
    files = [str(path) for path in builder.info.splits[split].filepaths]
    batches = tf.data.TFRecordDataset(files).batch(READ_RECORDS).map(
        lambda batch: tf.io.parse_example(batch, RECORD_SPEC))
    for batch in batches:
        arrays = {name: batch[name].numpy() for name in ("item_id", "item_index", "text")}
        ragged = {name: (batch[name].values.numpy(), batch[name].row_splits.numpy())
                  for name in ("queries", "query_ids", "query_weights")}
        for row in range(len(arrays["item_index"])):
            yield {name: values[row] for name, values in arrays.items()} | {
                name: values[splits[row]:splits[row + 1]]
                for name, (values, splits) in ragged.items()}
