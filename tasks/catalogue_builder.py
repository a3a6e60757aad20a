"""TFDS builder of a catalogue's datasets: training records, the item pool, held-out triggers.

The builder reads the Parquet tables of ``tasks.sidecars``, works offline, and is deterministic.

| config | splits | one record per | order |
|---|---|---|---|
| train | train, validation | item with training queries | shuffled by TFDS (hash of the index) |
| pool | train | item of the catalogue | item_index |
| q2i | train | held-out query | as the table |
| i2i | train | held-out item trigger | as the table |
"""

import contextlib
import io
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.progress import Progress
from tasks import record_files

quiet.tensorflow()
import tensorflow_datasets as tfds  # pylint: disable=wrong-import-position

NAME = "gsid_catalogue"
BATCH_ROWS = 4096
REPORT_ROWS = 1024
CONFIGS = {
    "train": "One record per item with training queries: its text, its queries and their weights.",
    "pool": "Every item of the catalogue, seen in training or not, in the order of item_index.",
    "q2i": "Held-out queries and the items meant by them.",
    "i2i": "Held-out items and the items similar to them.",
}
Text, Numbers = tfds.features.Text, tfds.features.Tensor


def record_features() -> dict[str, Any]:
    """Features of a training record; a step's records have these and codes."""
    return {
        "item_id": Text(),
        "item_index": np.int64,
        "text": Text(),
        "queries": tfds.features.Sequence(Text()),  # heaviest first
        "query_ids": Numbers(shape=(None,), dtype=np.int64),  # query_index + 1: 0 is padding
        "query_weights": Numbers(shape=(None,), dtype=np.float32),
    }


def _features(config: str) -> dict[str, Any]:
    if config == "train":
        return record_features()
    item = {"item_id": Text(), "item_index": np.int64, "text": Text()}
    relevant = {"item_indices": Numbers(shape=(None,), dtype=np.int64)}
    if config == "pool":
        return item | {"seen": np.bool_}
    if config == "i2i":
        return item | relevant | {"unseen_item": np.bool_}
    return relevant | {"query": Text(), "query_index": np.int64, "unseen_query": np.bool_,
                       "head": Text()}


class GsidCatalogue(tfds.core.GeneratorBasedBuilder):
    """Builds the datasets of one catalogue from its Parquet tables.

    Args:
      source_dir: where the tables lie; None: ``data_dir``.
      max_queries: queries kept in a training record, heaviest first.
      made_from: how the tables were made; kept as the metadata of each dataset.
      write: writes the files of a split, as ``write_here`` does.
      kwargs: see ``tfds.core.DatasetBuilder``; ``data_dir`` and ``config`` matter here.
    """

    name = NAME
    code_path = None  # TFDS looks beside it for checksums of downloads; there are none
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=text)
                       for name, text in CONFIGS.items()]

    def __init__(self, *, source_dir: str | os.PathLike | None = None, max_queries: int = 64,
                 made_from: Mapping[str, Any] | None = None,
                 write: Callable[..., list[tuple[int, int]]] | None = None, **kwargs):
        self._write = write or write_here
        self._made_from = dict(made_from or {})
        super().__init__(**kwargs)
        self._source_dir = pathlib.Path(source_dir or self.data_dir_root)
        self._max_queries = max_queries

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config.name
        return tfds.core.DatasetInfo(
            builder=self, description=CONFIGS[config],
            features=tfds.features.FeaturesDict(_features(config)),
            metadata=tfds.core.MetadataDict(self._made_from) if self._made_from else None,
            disable_shuffling=config != "train")

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        """Writes the records. TFDS calls it with ``data_dir`` being a temporary name."""
        del dl_manager, download_config
        record_files.set_splits(self, {
            split: self._write(self, split, count, self.data_dir)
            for split, count in self.counts().items()}, pathlib.Path(self.data_dir))

    def _split_generators(self, dl_manager):
        raise AssertionError("records are written by _download_and_prepare")

    def _generate_examples(self):
        raise AssertionError("records are written by _download_and_prepare")

    def _table(self) -> pathlib.Path:
        config = self.builder_config.name
        name = "items" if config in ("train", "pool") else f"{config}_test"
        return self._source_dir / f"{name}.parquet"

    def counts(self) -> dict[str, int]:
        """Records by split."""
        if self.builder_config.name != "train":
            return {"train": self.source_rows("train")}
        flags = pq.read_table(self._table(), columns=["seen", "validation"])
        validation = pc.sum(flags["validation"]).as_py()
        found = {"train": pc.sum(flags["seen"]).as_py() - validation}
        return found | ({"validation": validation} if validation else {})

    def source_rows(self, split: str) -> int:
        """Rows of the table that a split is made from."""
        del split  # the splits of a config share a table
        return pq.read_metadata(self._table()).num_rows

    def placing(self, split: str, shards: int) -> Callable[[int], tuple[int, int]]:
        """Returns what gives a record's key its file and its place in there."""
        if self.info.disable_shuffling:
            return lambda key: (key // record_files.SHARD_RECORDS, key)
        hashed = record_files.KeyHash(split)

        def place(key: int) -> tuple[int, int]:
            key = hashed(key)
            return record_files.hashed_shard(key, shards), key

        return place

    def records(self, split: str, start: int = 0, stop: int | None = None
                ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(key, record) pairs made from rows ``start`` to ``stop`` of the table.

        Keys of an ordered config count from 0.
        """
        config = self.builder_config.name
        if config == "train":
            return self._train_records(split == "validation", start, stop)
        return {"pool": self._pool, "q2i": self._q2i, "i2i": self._i2i}[config](start, stop)

    def _batches(self, columns: list[str], start: int, stop: int | None
                 ) -> Iterator[pa.RecordBatch]:
        """Rows ``start`` to ``stop`` of the table; the row groups before are not read."""
        file, row = pq.ParquetFile(self._table()), 0
        stop = file.metadata.num_rows if stop is None else stop
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if row < stop and row + size > start:
                table = file.read_row_group(group, columns)
                chosen = table.slice(max(start - row, 0), min(stop, row + size) - max(start, row))
                yield from chosen.to_batches(BATCH_ROWS)
            row += size

    def _train_records(self, validation: bool, start: int, stop: int | None
                       ) -> Iterator[tuple[int, dict[str, Any]]]:
        pairs = pq.read_table(self._source_dir / "train_pairs.parquet", filters=None if stop is None
                              else [("item_index", ">=", start), ("item_index", "<", stop)])
        item = pairs["item_index"].to_numpy()
        query, weight = pairs["query_index"].to_numpy(), pairs["weight"].to_numpy()
        texts = self._query_texts()
        for batch in self._batches(["item_index", "item_id", "text", "seen", "validation"], start,
                                   stop):
            chosen = batch.filter(pc.and_(batch["seen"], pc.equal(batch["validation"], validation)))
            index = chosen["item_index"].to_numpy()
            starts = np.searchsorted(item, index)
            ends = np.minimum(np.searchsorted(item, index, "right"), starts + self._max_queries)
            rows = np.concatenate([np.arange(*bounds) for bounds in zip(starts, ends)] or [[]])
            queries = texts.take(pa.array(query[rows.astype(np.int64)])).to_pylist()
            at = 0
            for row, first, end in zip(chosen.to_pylist(), starts.tolist(), ends.tolist()):
                yield row["item_index"], {
                    "item_id": row["item_id"], "item_index": row["item_index"], "text": row["text"],
                    "queries": queries[at:at + end - first], "query_ids": query[first:end] + 1,
                    "query_weights": weight[first:end]}
                at += end - first

    def _query_texts(self) -> pa.Array:
        texts = pq.read_table(self._source_dir / "queries.parquet", columns=["query"])["query"]
        return texts.combine_chunks()

    def _pool(self, start: int, stop: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        for batch in self._batches(["item_index", "item_id", "text", "seen"], start, stop):
            for row in batch.to_pylist():
                yield row["item_index"], row

    def _q2i(self, start: int, stop: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        texts = self._query_texts()
        table = pq.read_table(self._table()).slice(start, stop)
        yield from _rows(table.append_column("query", texts.take(
            table["query_index"].combine_chunks())), start)

    def _i2i(self, start: int, stop: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        items = pq.read_table(self._source_dir / "items.parquet", columns=["item_id", "text"])
        table = pq.read_table(self._table()).slice(start, stop)
        for name in ("item_id", "text"):
            table = table.append_column(name, items[name].take(table["item_index"]))
        yield from _rows(table, start)


def write_here(builder: GsidCatalogue, split: str, count: int, directory: str
               ) -> list[tuple[int, int]]:
    """Writes a split's files on this machine; (records, bytes) of each."""
    folder, shards = pathlib.Path(directory), record_files.num_shards(count)
    sort = record_files.ShardSort(folder / f"{split}.sort", shards)
    place, written = builder.placing(split, shards), []
    for key, record in _reported(f"writing {builder.builder_config.name}/{split}",
                                 builder.records(split), count):
        sort.add(*place(key), record_files.encode(record))
    for shard in range(shards):
        written.append(record_files.write_shard(
            record_files.shard_path(folder, builder.name, split, shard, shards),
            (record for _, record in sort.read(shard))))
        sort.remove(shard)
    sort.remove()
    return written


def _reported(label: str, records: Iterator[tuple[int, dict[str, Any]]], count: int
              ) -> Iterator[tuple[int, dict[str, Any]]]:
    """Passes records on, with a line of progress every few seconds."""
    progress = Progress(label, count)
    for place, record in enumerate(records, start=1):
        yield record
        if not place % REPORT_ROWS:
            progress.update(REPORT_ROWS)


def _rows(table: pa.Table, place: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for batch in table.to_batches(BATCH_ROWS):
        for row in batch.to_pylist():
            yield place, row | {"item_indices": np.array(row["item_indices"], np.int64)}
            place += 1


def build_catalogue(data_dir: pathlib.Path, max_queries: int = 64,
                    made_from: Mapping[str, Any] | None = None,
                    write: Callable[..., list[tuple[int, int]]] | None = None) -> dict[str, int]:
    """Builds every config whose table is in ``data_dir``; returns records by config/split.

    ``made_from`` is kept with each dataset and shown by ``builder.info.metadata``; ``write``
    is ``write_here`` if not given.
    """
    counts = {}
    tfds.disable_progress_bar()
    for config in CONFIGS:
        if config in ("q2i", "i2i") and not (data_dir / f"{config}_test.parquet").exists():
            continue
        builder = GsidCatalogue(config=config, data_dir=data_dir, max_queries=max_queries,
                                made_from=made_from, write=write)
        with tempfile.TemporaryDirectory() as downloads, \
                contextlib.redirect_stdout(io.StringIO()):  # TFDS announces itself there
            builder.download_and_prepare(download_dir=downloads)
        for split, info in builder.info.splits.items():
            counts[f"{config}/{split}"] = info.num_examples
    return counts


def dataset_dir(data_dir: str | os.PathLike, config: str) -> pathlib.Path:
    """Directory of a dataset of the catalogue: ``DATA_DIR/gsid_catalogue/CONFIG/VERSION``."""
    return pathlib.Path(data_dir) / NAME / config / str(GsidCatalogue.VERSION)


def load_catalogue_dataset(data_dir: str | os.PathLike, config: str) -> tfds.core.DatasetBuilder:
    """Opens a dataset for reading; UserError if it was not built."""
    directory = dataset_dir(data_dir, config)
    if not (directory / "dataset_info.json").exists():
        raise UserError(f"dataset {directory} is missing; expected what the dataset builder writes:"
                        f" run python -m tools.build_dataset with --output_dir={data_dir}")
    return tfds.builder_from_directory(directory)
