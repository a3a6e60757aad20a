"""gsid_tokens: the records of gsid_query_item with their texts tokenised once, offline.

SeqIO caches what comes before a task's ``CacheDatasetPlaceholder``; here that is the tokenising, and
what comes after, the drawing of queries, stays different in every epoch. SeqIO's own cache would
shuffle the records, so this one keeps them where they are: the batches read from it are exactly
those of the dataset that it was made from, prefix groups included.
"""

import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.manifest import file_hash
from tasks import beam_reading, features, location, record_files
from tasks.sources import RecordSource
from tasks.tokens import encode

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position
import tensorflow_datasets as tfds  # pylint: disable=wrong-import-position

NAME = "gsid_tokens"
MAX_TOKENS = 512  # of a text that are kept
IDS = tfds.features.Tensor(shape=(None,), dtype=np.int32)
TOKEN_FEATURES = {"item_tokens": IDS, "query_tokens": IDS, "query_lengths": IDS}
PROVENANCE = ("provenance/source_shard_index", "provenance/index_within_shard")


class FileSource(RecordSource):
    """A dataset's records, one shard per file, in the order of the file."""

    def __init__(self, dataset: str):
        super().__init__(dataset)
        self._caching_permitted = True

    def list_shards(self, split: str) -> Sequence[str]:
        return [str(path) for path in self.builder().info.splits[split].filepaths]

    def get_dataset(self, split: str = "train", shuffle: bool = True, seed: int | None = None,
                    shard_info: seqio.ShardInfo | None = None, **_) -> tf.data.Dataset:
        """Yields the decoded records of file ``shard_info.index``."""
        del shuffle, seed
        path = self.list_shards(split)[shard_info.index if shard_info else 0]
        return tf.data.TFRecordDataset(path).map(self.builder().info.features.deserialize_example)


def tokenise(dataset: tf.data.Dataset, output_features: Mapping[str, seqio.Feature]
             ) -> tf.data.Dataset:
    """Adds 'item_tokens' [l], and 'query_tokens', end to end, with their 'query_lengths' [n]."""
    vocabulary = output_features["item_tokens"].vocabulary

    @seqio.map_over_dataset
    def build(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        texts = tf.concat([record["text"][None], record["queries"]], axis=0)
        tokens = encode(vocabulary, texts)[:, :MAX_TOKENS]
        return {**record, "item_tokens": tokens[0], "query_tokens": tokens[1:].flat_values
                if hasattr(tokens[1:], "flat_values") else tokens[1:].values,
                "query_lengths": tf.cast(tokens[1:].row_lengths(), tf.int32)}

    return build(dataset)


def cached_rows(record: Mapping[str, tf.Tensor], drawn: tf.Tensor, count: int) -> tf.RaggedTensor:
    """The tokens of the drawn queries, int32 [count, (length)]; empty beyond those drawn."""
    rows = tf.gather(tf.RaggedTensor.from_row_lengths(
        record["query_tokens"], tf.cast(record["query_lengths"], tf.int64), validate=False), drawn)
    lengths = tf.pad(rows.row_lengths(), [[0, count - tf.size(drawn)]])
    return tf.RaggedTensor.from_row_lengths(rows.values, lengths, validate=False)


def register() -> None:
    """Adds the task to SeqIO's registry."""
    seqio.TaskRegistry.add(
        NAME,
        source=FileSource("step"),
        preprocessors=[tokenise, seqio.CacheDatasetPlaceholder()],
        output_features={"item_tokens": features.tokens()},
    )


class GsidTokens(tfds.core.GeneratorBasedBuilder):
    """Describes the cached records; ``write`` writes them."""

    name = NAME
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, source: tfds.core.DatasetBuilder, made_from: Mapping[str, Any], **kwargs):
        self._source, self._made_from = source, dict(made_from)
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, description="The records of gsid_query_item with their texts tokenised.",
            features=tfds.features.FeaturesDict(dict(self._source.info.features.items())
                                                | TOKEN_FEATURES),
            metadata=tfds.core.MetadataDict(self._made_from), disable_shuffling=True)

    def _split_generators(self, dl_manager):
        raise ValueError("the records come from the task gsid_tokens: use token_cache.write")

    def _generate_examples(self):
        raise ValueError("the records come from the task gsid_tokens: use token_cache.write")


def made_from(source: tfds.core.DatasetBuilder) -> dict[str, Any]:
    """What a cache depends on: the vocabulary and the dataset."""
    return {"vocabulary": file_hash(location.required("vocabulary", "vocabulary")),
            "records": {split: found.num_examples for split, found in source.info.splits.items()},
            "bytes": {split: found.num_bytes for split, found in source.info.splits.items()}}


def write(runner: str, options: str) -> dict[str, int]:
    """Tokenises the dataset of ``location`` on Beam, through SeqIO's task; records by split.

    The cache lies beside the dataset, complete or not at all.
    """
    beam = beam_reading.beam_module()
    from seqio import beam_utils
    task, place = seqio.TaskRegistry.get(NAME), location.current()
    source = RecordSource("step").builder()
    final = pathlib.Path(place.step_dir or place.data_dir) / NAME
    partial = final.with_name(f"{NAME}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    builder = GsidTokens(source=source, made_from=made_from(source), data_dir=partial)
    folder, work = pathlib.Path(builder.data_dir), partial / "work"
    for directory in (folder, work):
        directory.mkdir(parents=True)

    def locate() -> None:
        location.set_location(data_dir=place.data_dir, vocabulary=place.vocabulary,
                              extra_ids=place.extra_ids, step_dir=place.step_dir,
                              cached_tokens=False)

    with beam_reading.pipeline(runner, options) as begin:
        for split in source.info.splits:
            _ = (begin | f"{split} examples" >> beam_utils.PreprocessTask(
                     task, split, setup_fn=locate, modules_to_import=["tasks"], add_provenance=True)
                 | f"{split} records" >> beam.Map(_record)
                 | f"{split} files" >> beam.GroupByKey()
                 | f"write {split}" >> beam.Map(_write_file, os.fspath(folder), split,
                                                len(task.source.list_shards(split)),
                                                os.fspath(work)))
    written: dict[str, list] = {}
    for split, shard, size in sorted(beam_reading.results(os.fspath(work), "file")):
        written.setdefault(split, []).append(size)
    shutil.rmtree(work)
    builder.info.set_file_format("tfrecord")
    record_files.set_splits(builder, written, folder)
    builder.info.write_to_directory(folder)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial / NAME, final)
    shutil.rmtree(partial)
    return {split: sum(count for count, _ in sizes) for split, sizes in written.items()}


def _record(example: Mapping[str, Any]) -> tuple[int, tuple[int, bytes]]:
    """(file, (place in it, record)) of an example with SeqIO's provenance."""
    values = {name: value.numpy() if hasattr(value, "numpy") else value
              for name, value in example.items()}
    shard, place = (int(values[name]) for name in PROVENANCE)
    return shard, (place, record_files.encode({
        name: value for name, value in values.items() if not name.startswith("provenance/")}))


def _write_file(found: tuple[int, Iterable[tuple[int, bytes]]], folder: str, split: str,
                shards: int, work: str) -> None:
    shard, records = found
    size = record_files.write_shard(
        record_files.shard_path(pathlib.Path(folder), NAME, split, shard, shards),
        (record for _, record in sorted(records)))
    beam_reading.write_result(f"{work}/file-{split}-{shard:05d}.pickle", (split, shard, size))


def check_tokens(builder: tfds.core.DatasetBuilder) -> None:
    """Raises UserError if the cache was made from another vocabulary or dataset."""
    with location.use(cached_tokens=False):
        expected = made_from(RecordSource("step").builder())
    found = dict(builder.info.metadata or {})
    if found != expected:
        what = "vocabulary" if found.get("vocabulary") != expected["vocabulary"] else "dataset"
        raise UserError(f"cached tokens {builder.data_dir} were made with another {what}; expected "
                        "those of this run: write them again with tools.cache_tasks, or leave "
                        "cached_tokens out")
