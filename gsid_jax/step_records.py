"""Writes the next step's training records: the catalogue's, with the codes that are fixed now.

Every record carries its prefix z_<=t and the soft code distributions stored after step t, for its
item and each of its queries, in the order of ``gsid_jax.step_order``.
"""

import dataclasses
import hashlib
import itertools
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gsid_jax import quiet, step_order
from gsid_jax.errors import UserError
from gsid_jax.manifest import read_json, write_json
from gsid_jax.progress import Progress
from tasks import catalogue_builder, record_files, step_builder

tf = quiet.tensorflow()

SHARD_RECORDS = 1 << 16
READ_RECORDS = 512
MADE_FROM = "regroup.json"  # what an unfinished pass was made from
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
    validation split keeps the order of the catalogue. An external sort moves the records: memory
    holds the codes and one shard of records. A pass that was cut off goes on after the last input
    file read, or the last shard written.
    """
    plan = Plan(data_dir, items, queries, codebook_size, group_size, seed)
    known, work = directory / MADE_FROM, directory / "regroup"
    if read_json(known, "remove it and assign again") != plan.identity:
        for path in (work, directory / f"{step_builder.NAME}.partial"):
            shutil.rmtree(path, ignore_errors=True)
        write_json(known, plan.identity)
    elif not work.exists() and (step_builder.step_dataset_dir(directory)).exists():
        known.unlink()  # the kill came after everything was written
        return step_builder.counts(directory)
    sort = record_files.ShardSort(work, plan.shards)
    progress = Progress("regrouping records", plan.count)
    for path in plan.files("train")[sort.units:]:
        for rank, record in plan.ranked(path):
            sort.add(rank // plan.shard_records, rank, record)
            progress.update(1)
        sort.commit()
    splits = {"train": step_builder.Sharded(
        plan.shards, lambda shard: plan.with_codes(sort.read(shard)), sort.remove)}
    if "validation" in plan.builder.info.splits:
        files = plan.files("validation")
        splits["validation"] = step_builder.Sharded(len(files), lambda shard: plan.with_codes(
            enumerate(serialized(files[shard]))))
    written = step_builder.write_step_dataset(
        directory, splits, num_levels=items.codes.shape[1], codebook_size=codebook_size)
    sort.remove()
    known.unlink()
    return written


class Plan:
    """Where each training record of the next step goes, and what it gets there.

    Args: see ``write_step_records``. UserError if the dataset and its tables do not belong together.
    """

    def __init__(self, data_dir: pathlib.Path, items: StoredCodes, queries: StoredCodes,
                 codebook_size: int, group_size: int, seed: int):
        self.items, self.queries, self.codebook_size = items, queries, codebook_size
        self.builder = catalogue_builder.load_catalogue_dataset(data_dir, "train")
        self._ranks = _ranks(data_dir, items.codes, group_size, seed)
        self.count = int((self._ranks >= 0).sum())
        if self.count != self.builder.info.splits["train"].num_examples:
            raise UserError(
                f"dataset {self.builder.data_dir} has "
                f"{self.builder.info.splits['train'].num_examples} training records, but "
                f"{data_dir / 'items.parquet'} marks {self.count} items for training; expected the "
                "same number: build the dataset again")
        window = step_order.WINDOW_GROUPS * group_size
        self.shard_records = -(-SHARD_RECORDS // window) * window
        self.shards = record_files.num_shards(self.count, self.shard_records)
        self.identity = {"group_size": group_size, "seed": seed, "records": self.count,
                         "ranks": hashlib.sha256(self._ranks.tobytes()).hexdigest()}

    def files(self, split: str) -> list[str]:
        """The catalogue's files of a split, in order."""
        return [str(path) for path in self.builder.info.splits[split].filepaths]

    def ranked(self, path: str) -> Iterator[tuple[int, bytes]]:
        """(place in the new order, serialized record) of the training records of a file."""
        spec = {"item_index": RECORD_SPEC["item_index"]}
        for batch in tf.data.TFRecordDataset(path).batch(READ_RECORDS):
            index = tf.io.parse_example(batch, spec)["item_index"].numpy()
            yield from zip(self._ranks[index].tolist(), batch.numpy().tolist())

    def with_codes(self, records: Iterable[tuple[Any, bytes]]) -> Iterator[dict[str, Any]]:
        """Records with the codes and soft distributions that are stored for them."""
        for record in _parsed(record for _, record in records):
            item = np.asarray([record["item_index"]])
            rows = record["query_ids"] - 1
            yield {**record, "item_codes": self.items.codes[item[0]],
                   "query_codes": self.queries.codes[rows],
                   "item_soft": self.items.dense_soft(item, self.codebook_size)[0],
                   "query_soft": self.queries.dense_soft(rows, self.codebook_size)}


def _ranks(data_dir: pathlib.Path, codes: np.ndarray, group_size: int, seed: int) -> np.ndarray:
    """Place of each item among the training records; int64 [N], -1 where it is none of them."""
    flags = pq.read_table(data_dir / "items.parquet", columns=["seen", "validation"])
    seen, validation = (flags[name].to_numpy(zero_copy_only=False) for name in flags.column_names)
    training = np.flatnonzero(seen & ~validation)
    order = step_order.window_order(np.asarray(codes[training]), group_size, seed)
    ranks = np.full(len(seen), -1, np.int64)
    ranks[training[order]] = np.arange(len(training))
    return ranks


def serialized(path: str) -> Iterator[bytes]:
    """The serialized records of a file, in order."""
    for batch in tf.data.TFRecordDataset(path).batch(READ_RECORDS):
        yield from batch.numpy().tolist()


def _parsed(records: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The catalogue's records, parsed many at a time, which is several times faster than TFDS."""
    stream = iter(records)
    while chunk := list(itertools.islice(stream, READ_RECORDS)):
        batch = tf.io.parse_example(tf.constant(chunk), RECORD_SPEC)
        arrays = {name: batch[name].numpy() for name in ("item_id", "item_index", "text")}
        ragged = {name: (batch[name].values.numpy(), batch[name].row_splits.numpy())
                  for name in ("queries", "query_ids", "query_weights")}
        for row in range(len(arrays["item_index"])):
            yield {name: values[row] for name, values in arrays.items()} | {
                name: values[splits[row]:splits[row + 1]]
                for name, (values, splits) in ragged.items()}
