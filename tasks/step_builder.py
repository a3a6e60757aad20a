"""TFDS dataset of a step's training records: the catalogue's records and the codes fixed so far.

The assignment pass after step t writes it for step t + 1, in the order in which it shall be read
(``gsid_jax.step_order``). So records are appended to the files as they come, in constant memory,
and nothing shuffles them.
"""

import dataclasses
import itertools
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.manifest import read_json, write_json
from tasks import record_files
from tasks.catalogue_builder import record_features

quiet.tensorflow()
import tensorflow_datasets as tfds  # pylint: disable=wrong-import-position

NAME = "gsid_step"
SHARD_RECORDS = 1 << 16
WRITTEN = "written.json"  # (records, bytes) of the files that are complete, by split


def step_features(num_levels: int) -> tfds.features.FeaturesDict:
    """Features of a record with ``num_levels`` (t) codes and soft distributions over K codes."""
    string = tfds.features.Text()
    return tfds.features.FeaturesDict(record_features() | {
        "item_codes": tfds.features.Tensor(shape=(num_levels,), dtype=np.int32),
        "query_codes": tfds.features.Tensor(shape=(None,), dtype=np.int32),  # [queries * t]
        "item_soft": string,  # bytes of float16 [t, K]
        "query_soft": tfds.features.Sequence(string),  # the same for each query
    })


class GsidStep(tfds.core.GeneratorBasedBuilder):
    """Describes a step's dataset; ``write_step_dataset`` writes it."""

    name = NAME
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, num_levels: int, **kwargs):
        self._num_levels = num_levels
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, description="Training records of one step, with their prefixes, in order "
            "of reading.", features=step_features(self._num_levels), disable_shuffling=True)

    def _split_generators(self, dl_manager):
        raise ValueError("a step's records come from the assignment pass: use write_step_dataset")

    def _generate_examples(self):
        raise ValueError("a step's records come from the assignment pass: use write_step_dataset")


@dataclasses.dataclass(frozen=True)
class Sharded:
    """The records of a split, shard by shard: a write that was cut off goes on after the last."""

    shards: int
    read: Callable[[int], Iterable[Mapping[str, Any]]]  # the records of a shard
    done: Callable[[int], None] = lambda shard: None  # told when a shard is safely written


def write_step_dataset(directory: str | os.PathLike,
                       records: Iterable[Mapping[str, Any]]
                       | Mapping[str, Iterable[Mapping[str, Any]] | Sharded],
                       num_levels: int, codebook_size: int,
                       shard_records: int = SHARD_RECORDS) -> dict[str, int]:
    """Writes ``directory/gsid_step``, complete or not at all, replacing what was there.

    Args:
      directory: an assignment directory.
      records: records in order of reading (split 'train'), or iterables of them, or ``Sharded``, by
        split. A record holds the fields of ``catalogue_builder.record_features`` and, for n
        queries, ``item_codes`` int [t], ``query_codes`` int [n, t] (or flattened), ``item_soft``
        [t, K] and ``query_soft`` n times [t, K]: arrays of any float type or bytes of float16.
      num_levels: t, codes per record.
      codebook_size: K.
      shard_records: records per file. A multiple of the reading window, so that none is cut.

    If every split is ``Sharded``, files that a write before this one completed are kept: the caller
    removes ``gsid_step.partial`` where they are not of the same records.

    Returns the number of records by split. Raises ValueError for a record of another shape, and if
    a split has no record.
    """
    final = pathlib.Path(directory) / NAME
    partial = pathlib.Path(directory) / f"{NAME}.partial"
    splits = records if isinstance(records, Mapping) else {"train": records}
    if not all(isinstance(split, Sharded) for split in splits.values()):
        shutil.rmtree(partial, ignore_errors=True)
    builder = GsidStep(num_levels=num_levels, data_dir=partial)
    folder = pathlib.Path(builder.data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    written = read_json(folder / WRITTEN, "remove the directory and start again")
    for split, rows in splits.items():
        done = written.setdefault(split, [])
        parts = _parts(rows, shard_records, len(done))
        for shard, part in enumerate(parts, start=len(done)):
            size = record_files.write_shard(folder / f"{split}-{shard:05d}", (
                encoded(row, num_levels, codebook_size) for row in part))
            if size[0]:
                done.append(size)
                write_json(folder / WRITTEN, written)
            if isinstance(rows, Sharded):
                rows.done(shard)
        if not done:
            raise ValueError(f"split {split!r} of {final} has no records; expected at least one")
    finish(builder, folder, written)
    put_in_place(directory)
    return {split: sum(count for count, _ in written[split]) for split in splits}


def _parts(rows: Iterable[Mapping[str, Any]] | Sharded, shard_records: int, first: int
           ) -> Iterator[Iterable[Mapping[str, Any]]]:
    if isinstance(rows, Sharded):
        yield from (rows.read(shard) for shard in range(first, rows.shards))
        return
    stream = iter(rows)
    for row in stream:
        yield itertools.chain([row], itertools.islice(stream, shard_records - 1))


def finish(builder: GsidStep, folder: pathlib.Path, written: Mapping[str, Any]) -> None:
    """Gives the files their names and describes the dataset."""
    for split, shards in written.items():
        for shard in range(len(shards)):
            path = folder / f"{split}-{shard:05d}"
            if path.exists():  # else it was renamed before a kill
                os.replace(path, record_files.shard_path(folder, NAME, split, shard, len(shards)))
    builder.info.set_file_format("tfrecord")
    record_files.set_splits(builder, written, folder)
    builder.info.write_to_directory(folder)
    (folder / WRITTEN).unlink(missing_ok=True)


def put_in_place(directory: str | os.PathLike) -> None:
    """Gives a finished dataset its name, in the place of the one before."""
    final = pathlib.Path(directory) / NAME
    partial = pathlib.Path(directory) / f"{NAME}.partial"
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial / NAME, final)
    partial.rmdir()


def encoded(record: Mapping[str, Any], num_levels: int, codebook_size: int) -> bytes:
    """A record as the bytes of the dataset; ValueError for one of another shape."""
    return record_files.encode(_encode(record, num_levels, codebook_size))


def _encode(record: Mapping[str, Any], num_levels: int, codebook_size: int) -> dict[str, Any]:
    queries = len(record["queries"])
    codes = np.asarray(record["item_codes"], np.int32)
    query_codes = np.asarray(record["query_codes"], np.int32).reshape(-1)
    weights = np.asarray(record["query_weights"], np.float32)
    query_ids = np.asarray(record["query_ids"], np.int64)
    sizes = {"item_codes": (codes.shape, (num_levels,)),
             "query_codes": (query_codes.shape, (queries * num_levels,)),
             "query_ids": (query_ids.shape, (queries,)),
             "query_weights": (weights.shape, (queries,)),
             "query_soft": ((len(record["query_soft"]),), (queries,))}
    for name, (got, expected) in sizes.items():
        if got != expected:
            raise ValueError(f"record of item {record['item_id']!r}: {name} has shape {got}, "
                             f"expected {expected} for {queries} queries and {num_levels} levels")
    shape = (num_levels, codebook_size)
    return {**{name: record[name] for name in ("item_id", "item_index", "text", "queries")},
            "query_ids": query_ids, "query_weights": weights,
            "item_codes": codes, "query_codes": query_codes,
            "item_soft": _soft_bytes(record["item_soft"], shape, record["item_id"]),
            "query_soft": [_soft_bytes(soft, shape, record["item_id"])
                           for soft in record["query_soft"]]}


def _soft_bytes(soft: bytes | np.ndarray, shape: tuple[int, int], item_id: str) -> bytes:
    if not isinstance(soft, bytes):
        soft = np.asarray(soft)
        if soft.shape != shape:
            raise ValueError(f"record of item {item_id!r}: soft distribution has shape "
                             f"{soft.shape}, expected {shape}")
        soft = soft.astype(np.float16).tobytes()
    if len(soft) != 2 * shape[0] * shape[1]:
        raise ValueError(f"record of item {item_id!r}: soft distribution has {len(soft)} bytes, "
                         f"expected {2 * shape[0] * shape[1]}, float16 {list(shape)}")
    return soft


def counts(directory: str | os.PathLike) -> dict[str, int]:
    """Records by split of the dataset in an assignment directory."""
    info = load_step_dataset(directory).info
    return {split: found.num_examples for split, found in info.splits.items()}


def step_dataset_dir(directory: str | os.PathLike) -> pathlib.Path:
    """Directory of the dataset in an assignment directory: ``directory/gsid_step/VERSION``."""
    return pathlib.Path(directory) / NAME / str(GsidStep.VERSION)


def load_step_dataset(directory: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """Opens the dataset of an assignment directory for reading; UserError if it is missing."""
    found = step_dataset_dir(directory)
    if not (found / "dataset_info.json").exists():
        raise UserError(f"step dataset {found} is missing; expected the records written with an "
                        "assignment: run the assignment of the step before again")
    return tfds.builder_from_directory(found)
