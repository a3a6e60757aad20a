"""TFDS records written by ourselves: serialised, moved to their place, one file per shard.

TFDS encodes and shuffles record by record in Python, several times slower than this. The files and
the bytes of each record are the same that TFDS would write (a test compares them), so that
``tfds.builder_from_directory`` reads them like any other dataset.
"""

import os
import pathlib
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gsid_jax import quiet
from gsid_jax.manifest import read_json, write_json

tf = quiet.tensorflow()
import tensorflow_datasets as tfds  # pylint: disable=wrong-import-position
from tensorflow_datasets.core import hashing  # pylint: disable=wrong-import-position

SHARD_RECORDS = 1 << 17
BUFFER_BYTES = 1 << 26  # of records in memory before they go to their files
KEY_BITS = 128
STATE = "state.json"
Feature, Features, Example = tf.train.Feature, tf.train.Features, tf.train.Example


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as the bytes of a tf.train.Example; its fields sorted by name.

    Values: str or bytes, int or bool, float, lists of str or bytes, NumPy arrays of numbers.
    """
    return Example(features=Features(feature={
        name: _feature(record[name]) for name in sorted(record)})).SerializeToString(
            deterministic=True)


def _feature(value: Any) -> Any:
    if isinstance(value, (str, bytes)):
        value = [value]
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        kind, value = value.dtype.kind, value.ravel().tolist()
    elif isinstance(value, (list, tuple, np.ndarray)):
        texts = [each.encode() if isinstance(each, str) else bytes(each) for each in value]
        return Feature(bytes_list=tf.train.BytesList(value=texts))
    else:
        is_float = isinstance(value, (float, np.floating))
        kind, value = ("f", [value]) if is_float else ("i", [int(value)])
    if kind == "f":
        return Feature(float_list=tf.train.FloatList(value=value))
    return Feature(int64_list=tf.train.Int64List(value=value))


class KeyHash:
    """The shuffled place of a record, as TFDS hashes it: 128 bits of its key, salted by split."""

    def __init__(self, split: str):
        self._hasher = hashing.Hasher(split)

    def __call__(self, key: int) -> int:
        return self._hasher.hash_key(key)


def num_shards(count: int, shard_records: int = SHARD_RECORDS) -> int:
    """Files that ``count`` records fill."""
    return max(1, -(-count // shard_records))


def hashed_shard(key: int, shards: int) -> int:
    """The file of a shuffled record: equal ranges of the hash."""
    return (key * shards) >> KEY_BITS


def shard_path(directory: pathlib.Path, dataset: str, split: str, shard: int, shards: int
               ) -> pathlib.Path:
    """The name that TFDS gives a file."""
    return directory / f"{dataset}-{split}.tfrecord-{shard:05d}-of-{shards:05d}"


def write_shard(path: pathlib.Path, records: Iterable[bytes]) -> tuple[int, int]:
    """Writes a file under a temporary name and renames it; (records, their bytes)."""
    temporary = path.with_name(f"{path.name}.tmp")
    count = size = 0
    with tf.io.TFRecordWriter(os.fspath(temporary)) as writer:
        for record in records:
            writer.write(record)
            count += 1
            size += len(record)
    os.replace(temporary, path)
    return count, size


def set_splits(builder: tfds.core.DatasetBuilder, written: Mapping[str, Sequence[tuple[int, int]]],
               directory: pathlib.Path) -> None:
    """Tells a builder what was written: (records, bytes) of each file, by split."""
    infos = []
    for split, shards in written.items():
        template = tfds.core.ShardedFileTemplate(
            dataset_name=builder.name, data_dir=directory, split=split, filetype_suffix="tfrecord")
        infos.append(tfds.core.SplitInfo(
            name=split, shard_lengths=[count for count, _ in shards],
            num_bytes=sum(size for _, size in shards), filename_template=template))
    builder.info.set_splits(tfds.core.splits.SplitDict(infos))


class ShardSort:
    """An external sort: records arrive in any order and leave shard by shard, sorted by key.

    Records wait in a buffer of ``BUFFER_BYTES`` and in one file per shard; reading takes one shard
    into memory. With ``commit`` after each unit of input, a sort that was cut off goes on after the
    last unit committed.

    Args:
      directory: of its files; made if it is missing.
      shards: number of shards.
    """

    def __init__(self, directory: pathlib.Path, shards: int):
        self._directory = directory
        self._waiting: list[list[tuple[int, bytes]]] = [[] for _ in range(shards)]
        self._bytes = 0
        directory.mkdir(parents=True, exist_ok=True)
        state = read_json(directory / STATE, "remove the directory and start again")
        self.units = state.get("units", 0)
        """Units of input that need not be added again."""
        for shard in range(shards):
            path, size = self._path(shard), state.get("sizes", {}).get(str(shard), 0)
            if path.exists():
                os.truncate(path, size)

    def _path(self, shard: int) -> pathlib.Path:
        return self._directory / f"shard-{shard:05d}.pickle"

    def add(self, shard: int, key: int, record: bytes) -> None:
        """Takes a record."""
        self._waiting[shard].append((key, record))
        self._bytes += len(record)
        if self._bytes > BUFFER_BYTES:
            self._flush()

    def _flush(self, sync: bool = False) -> None:
        for shard, rows in enumerate(self._waiting):
            if rows:
                with open(self._path(shard), "ab") as file:
                    pickle.dump(rows, file, pickle.HIGHEST_PROTOCOL)
                    if sync:
                        file.flush()
                        os.fsync(file.fileno())
                self._waiting[shard] = []
        self._bytes = 0

    def commit(self) -> None:
        """Says that a unit of input is complete; it survives a kill."""
        self._flush(sync=True)
        self.units += 1
        write_json(self._directory / STATE, {"units": self.units, "sizes": {
            str(shard): self._path(shard).stat().st_size for shard in range(len(self._waiting))
            if self._path(shard).exists()}})

    def read(self, shard: int) -> Iterator[tuple[int, bytes]]:
        """The (key, record) pairs of a shard by key. ValueError for a key that comes twice."""
        rows = list(self._waiting[shard])
        if self._path(shard).exists():
            with open(self._path(shard), "rb") as file:
                while True:
                    try:
                        rows += pickle.load(file)
                    except EOFError:
                        break
        rows.sort(key=lambda row: row[0])
        for before, row in zip(rows, rows[1:]):
            if before[0] == row[0]:
                raise ValueError(f"two records have key {row[0]}")
        yield from rows

    def remove(self, shard: int | None = None) -> None:
        """Deletes the file of a shard that was read, or everything."""
        shards = range(len(self._waiting)) if shard is None else [shard]
        for each in shards:
            self._waiting[each] = []
            self._path(each).unlink(missing_ok=True)
        if shard is None:
            (self._directory / STATE).unlink(missing_ok=True)
            self._directory.rmdir()
