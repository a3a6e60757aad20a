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
from collections.abc import Iterator, Mapping
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
      kwargs: see ``tfds.core.DatasetBuilder``; ``data_dir`` and ``config`` matter here.
    """

    name = NAME
    code_path = None  # TFDS looks beside it for checksums of downloads; there are none
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=text)
                       for name, text in CONFIGS.items()]

    def __init__(self, *, source_dir: str | os.PathLike | None = None, max_queries: int = 64,
                 made_from: Mapping[str, Any] | None = None, **kwargs):
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
        del download_config
        directory, written = pathlib.Path(self.data_dir), {}
        for split, (records, count) in self._split_generators(dl_manager).items():
            shards = record_files.num_shards(count)
            sort = record_files.ShardSort(directory / f"{split}.sort", shards)
            place = record_files.KeyHash(split) if not self.info.disable_shuffling else None
            for key, record in _reported(f"writing {self.builder_config.name}/{split}", records,
                                         count):
                key = place(key) if place else key
                shard = (record_files.hashed_shard(key, shards) if place
                         else key // record_files.SHARD_RECORDS)
                sort.add(shard, key, record_files.encode(record))
            written[split] = []
            for shard in range(shards):
                written[split].append(record_files.write_shard(
                    record_files.shard_path(directory, self.name, split, shard, shards),
                    (record for _, record in sort.read(shard))))
                sort.remove(shard)
            sort.remove()
        record_files.set_splits(self, written, directory)

    def _split_generators(self, dl_manager
                          ) -> dict[str, tuple[Iterator[tuple[int, dict[str, Any]]], int]]:
        """By split: (key, record) pairs and their number. Keys of an ordered split count from 0."""
        del dl_manager  # nothing is downloaded
        config = self.builder_config.name
        if config == "train":
            flags = pq.read_table(self._source_dir / "items.parquet",
                                  columns=["seen", "validation"])
            validation = pc.sum(flags["validation"]).as_py()
            splits = {"train": (self._train_records(False),
                                pc.sum(flags["seen"]).as_py() - validation)}
            if validation:
                splits["validation"] = self._train_records(True), validation
        else:
            records, table = {"pool": (self._pool, "items"), "q2i": (self._q2i, "q2i_test"),
                              "i2i": (self._i2i, "i2i_test")}[config]
            count = pq.read_metadata(self._source_dir / f"{table}.parquet").num_rows
            splits = {"train": (records(), count)}
        return splits

    def _generate_examples(self):
        raise AssertionError("records are written by _download_and_prepare")

    def _items(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(self._source_dir / "items.parquet")
        return file.iter_batches(BATCH_ROWS, columns=["item_index", "item_id", *columns])

    def _train_records(self, validation: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        pairs = pq.read_table(self._source_dir / "train_pairs.parquet")
        item = pairs["item_index"].to_numpy()
        query, weight = pairs["query_index"].to_numpy(), pairs["weight"].to_numpy()
        texts = pq.read_table(self._source_dir / "queries.parquet", columns=["query"])["query"]
        texts = texts.combine_chunks()
        for batch in self._items(["text", "seen", "validation"]):
            chosen = batch.filter(pc.and_(batch["seen"], pc.equal(batch["validation"], validation)))
            index = chosen["item_index"].to_numpy()
            starts = np.searchsorted(item, index)
            ends = np.minimum(np.searchsorted(item, index, "right"), starts + self._max_queries)
            rows = np.concatenate([np.arange(*bounds) for bounds in zip(starts, ends)] or [[]])
            queries = texts.take(pa.array(query[rows.astype(np.int64)])).to_pylist()
            at = 0
            for row, start, end in zip(chosen.to_pylist(), starts.tolist(), ends.tolist()):
                yield row["item_index"], {
                    "item_id": row["item_id"], "item_index": row["item_index"], "text": row["text"],
                    "queries": queries[at:at + end - start], "query_ids": query[start:end] + 1,
                    "query_weights": weight[start:end]}
                at += end - start

    def _pool(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for batch in self._items(["text", "seen"]):
            for row in batch.to_pylist():
                yield row["item_index"], row

    def _q2i(self) -> Iterator[tuple[int, dict[str, Any]]]:
        texts = pq.read_table(self._source_dir / "queries.parquet", columns=["query"])["query"]
        table = pq.read_table(self._source_dir / "q2i_test.parquet")
        yield from _rows(table.append_column("query", texts.take(table["query_index"])))

    def _i2i(self) -> Iterator[tuple[int, dict[str, Any]]]:
        items = pq.read_table(self._source_dir / "items.parquet", columns=["item_id", "text"])
        table = pq.read_table(self._source_dir / "i2i_test.parquet")
        for name in ("item_id", "text"):
            table = table.append_column(name, items[name].take(table["item_index"]))
        yield from _rows(table)


def _reported(label: str, records: Iterator[tuple[int, dict[str, Any]]], count: int
              ) -> Iterator[tuple[int, dict[str, Any]]]:
    """Passes records on, with a line of progress every few seconds."""
    progress = Progress(label, count)
    for place, record in enumerate(records, start=1):
        yield record
        if not place % REPORT_ROWS:
            progress.update(REPORT_ROWS)


def _rows(table: pa.Table) -> Iterator[tuple[int, dict[str, Any]]]:
    place = 0
    for batch in table.to_batches(BATCH_ROWS):
        for row in batch.to_pylist():
            yield place, row | {"item_indices": np.array(row["item_indices"], np.int64)}
            place += 1


def build_catalogue(data_dir: pathlib.Path, max_queries: int = 64,
                    made_from: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Builds every config whose table is in ``data_dir``; returns records by config/split.

    ``made_from`` is kept with each dataset and shown by ``builder.info.metadata``.
    """
    counts = {}
    tfds.disable_progress_bar()
    for config in CONFIGS:
        if config in ("q2i", "i2i") and not (data_dir / f"{config}_test.parquet").exists():
            continue
        builder = GsidCatalogue(config=config, data_dir=data_dir, max_queries=max_queries,
                                made_from=made_from)
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
