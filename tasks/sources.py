"""Data sources of the tasks: TFDS datasets of records, and Parquet tables.

A record source shuffles by itself (``grouping``) and repeats by itself, because only then does an
epoch know its number: SeqIO's ``repeat`` knows it not. ``CatalogueTask`` hands the number of epochs
over with ``for_epochs``.
"""

import copy
import dataclasses
import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow.parquet as pq
from etils import epath

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import grouping, location

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position
import tensorflow_datasets as tfds  # pylint: disable=wrong-import-position

FOREVER = 1 << 62  # epochs of a dataset that repeats without end
FILES_AT_ONCE = 8  # read in turns where the order does not matter
FILE_BLOCK = 16


class _CatalogueSource(seqio.DataSource):
    """A source that resolves its place late, shuffles and repeats by itself."""

    def __init__(self, shuffles: bool):
        super().__init__(splits=(), caching_permitted=False, performs_internal_shuffling=shuffles)
        self._epochs = 1

    def for_epochs(self, epochs: int | None) -> "_CatalogueSource":
        """Returns a copy that yields ``epochs`` epochs; None: without end."""
        source = copy.copy(self)
        source._epochs = FOREVER if epochs is None else epochs
        return source

    @property
    def supports_arbitrary_sharding(self) -> bool:
        return True

    def list_shards(self, split: str) -> Sequence[str]:
        return [split]


class RecordSource(_CatalogueSource):
    """Records of a TFDS dataset found by ``location.dataset_dir(dataset)`` at load time."""

    def __init__(self, dataset: str):
        super().__init__(shuffles=True)
        self.dataset = dataset

    def builder(self) -> tfds.core.DatasetBuilder:
        """Opens the dataset; UserError if it is missing or unreadable."""
        cached = self.dataset == "step" and location.current().cached_tokens
        directory = location.dataset_dir("tokens" if cached else self.dataset)
        try:
            return tfds.builder_from_directory(directory)
        except Exception as error:
            raise UserError(f"dataset {directory} cannot be read ({error}); build it again"
                            ) from error

    @property
    def splits(self) -> Sequence[str]:
        return tuple(self.builder().info.splits)

    def num_input_examples(self, split: str) -> int:
        return self.builder().info.splits[split].num_examples

    def groups(self, split: str) -> grouping.PrefixGroups | None:
        """How the split is grouped by prefix; None where it is not."""
        if self.dataset != "step" or not location.current().step_dir or split != "train":
            return None
        groups = grouping.prefix_groups()
        return _with_written_size(groups) if groups.enabled else None

    def code_shape(self) -> tuple[int, int] | None:
        """(C, K) of the records' prefixes and soft distributions; None for records without."""
        info = self.builder().info
        if "item_codes" not in info.features:
            return None
        split = max(info.splits, key=lambda name: info.splits[name].num_examples)
        record = next(iter(_serialized(info.splits[split].file_instructions, 1)))
        record = info.features.deserialize_example(record)
        levels = int(record["item_codes"].shape[0])
        return levels, len(record["item_soft"].numpy()) // 2 // levels  # bytes of float16 [C, K]

    def get_dataset(self, split: str = "train", shuffle: bool = True, seed: int | None = None,
                    shard_info: seqio.ShardInfo | None = None, **_) -> tf.data.Dataset:
        """Yields decoded records. Each shard reads a range of records of its own."""
        info = self.builder().info
        groups = self.groups(split)
        levels = info.features["item_codes"].shape[0] if groups else 0
        if groups and (groups.prefix_levels or 1) > levels:
            raise UserError(f"tasks.grouping.prefix_groups.prefix_levels is {groups.prefix_levels}, "
                            f"but the records have {levels} code(s); expected at most that many")
        count = info.splits[split].num_examples
        start, end = _shard(count, groups.window if groups else 1, shard_info)
        if start == end:
            index, shards = (shard_info.index, shard_info.num_shards) if shard_info else (0, 1)
            raise UserError(f"split '{split}' of dataset '{self.dataset}' has {count} records; "
                            f"shard {index} of {shards} gets none: use fewer hosts or more data")
        instructions = info.splits[f"{split}[{start}:{end}]"].file_instructions
        if seed is None:
            seed = int(np.random.default_rng().integers(1 << 62))
        root = tf.constant([seed, 0], tf.int64) if shuffle else None

        def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
            seed = None if root is None else tf.random.fold_in(root, epoch)
            if groups:
                return _grouped(_serialized(instructions, 1), end - start, groups, levels, seed)
            return _shuffled(instructions, end - start, seed)

        records = tf.data.Dataset.range(self._epochs).flat_map(epoch_records)
        return records.map(info.features.deserialize_example, num_parallel_calls=tf.data.AUTOTUNE)


def _with_written_size(groups: grouping.PrefixGroups) -> grouping.PrefixGroups:
    """Adds the group size the assignment says it wrote; UserError if that is smaller."""
    stats = epath.Path(location.current().step_dir) / "stats.json"
    written = json.loads(stats.read_text()).get("group_size") if stats.exists() else None
    if written is not None and groups.group_size > written:
        raise UserError(f"tasks.grouping.prefix_groups.group_size is {groups.group_size}, but "
                        f"{stats.parent} was written for groups of {written}; set it to {written} "
                        f"or less, or assign again with a group size of {groups.group_size}")
    return dataclasses.replace(groups, written_size=written)


def _shard(count: int, unit: int, shard_info: seqio.ShardInfo | None) -> tuple[int, int]:
    """The range of records of a shard: whole units (windows), as even as they divide."""
    if shard_info is None or shard_info.num_shards == 1:
        return 0, count
    units = -(-count // unit)
    bounds = [min(count, units * index // shard_info.num_shards * unit)
              for index in (shard_info.index, shard_info.index + 1)]
    return bounds[0], bounds[1]


def _serialized(instructions: Sequence[tfds.core.utils.shard_utils.FileInstruction],
                files_at_once: int, seed: tf.Tensor | None = None) -> tf.data.Dataset:
    """Serialized records of the files, in order, or with the files in random order."""
    names = tf.constant([instruction.filename for instruction in instructions])
    skips = tf.constant([instruction.skip for instruction in instructions], tf.int64)
    takes = tf.constant([instruction.take for instruction in instructions], tf.int64)
    order = tf.range(len(instructions))
    if seed is not None:
        order = grouping.random_order(len(instructions), seed)

    def read(file: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(names[file]).skip(skips[file]).take(takes[file])

    files = tf.data.Dataset.from_tensor_slices(order)
    if files_at_once == 1:
        return files.flat_map(read)
    return files.interleave(read, cycle_length=files_at_once, block_length=FILE_BLOCK)


def _shuffled(instructions, count: int, seed: tf.Tensor | None) -> tf.data.Dataset:
    """One epoch without groups; ``seed`` None keeps the order of the files."""
    if seed is None:
        return _serialized(instructions, 1)
    files_seed, cut_seed, block_seed = tf.unstack(tf.random.split(seed, 3))
    records = _serialized(instructions, min(FILES_AT_ONCE, len(instructions)), files_seed)

    def permute(index: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
        order = grouping.random_order(tf.size(block), tf.random.fold_in(block_seed, index))
        return tf.gather(block, order)

    blocks = grouping.blocks(records, count, 1, grouping.shuffling(), cut_seed)
    return blocks.map(permute).unbatch()


def _grouped(records: tf.data.Dataset, count: int, groups: grouping.PrefixGroups, levels: int,
             seed: tf.Tensor | None) -> tf.data.Dataset:
    """One epoch in groups of one prefix; ``seed`` None keeps the order of the file."""
    cut_seed, block_seed = (None, None) if seed is None else tf.unstack(tf.random.split(seed, 2))
    spec = {"item_codes": tf.io.FixedLenFeature([levels], tf.int64)}

    def group(index: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
        codes = tf.io.parse_example(block, spec)["item_codes"][:, :groups.prefix_levels]
        seed = None if block_seed is None else tf.random.fold_in(block_seed, index)
        return tf.gather(block, grouping.group_order(
            codes, groups.window, groups.group_size, seed, groups.alone))

    blocks = grouping.blocks(records, count, groups.window, groups.block_windows, cut_seed)
    return blocks.map(group).unbatch()


class TableSource(_CatalogueSource):
    """Rows of a Parquet table, in order, as one split 'train'; string and integer columns."""

    def __init__(self, table: str, columns: Sequence[str]):
        super().__init__(shuffles=False)
        self.table = table
        self.columns = tuple(columns)

    @property
    def splits(self) -> Sequence[str]:
        return ("train",)

    def num_input_examples(self, split: str) -> int:
        return pq.ParquetFile(location.table(self.table)).metadata.num_rows

    def get_dataset(self, split: str = "train", shuffle: bool = False, seed: int | None = None,
                    shard_info: seqio.ShardInfo | None = None, **_) -> tf.data.Dataset:
        """Yields the rows in the order of the table; ``shuffle`` is not supported."""
        if shuffle:
            raise UserError(f"table {self.table} is read in order: load its task with shuffle off")
        path = location.table(self.table)
        start, end = _shard(self.num_input_examples(split), 1, shard_info)
        schema = pq.ParquetFile(path).schema_arrow
        signature = {}
        for name in self.columns:
            text = str(schema.field(name).type) in ("string", "large_string")
            signature[name] = tf.TensorSpec([None], tf.string if text else tf.int64)

        def read() -> Iterator[dict[str, np.ndarray]]:
            row = 0
            for batch in pq.ParquetFile(path).iter_batches(8192, columns=list(self.columns)):
                rows = slice(max(0, start - row), max(0, end - row))
                row += len(batch)
                yield {name: np.array(batch.column(name).to_pylist()[rows],
                                      object if spec.dtype == tf.string else np.int64)
                       for name, spec in signature.items()}

        return tf.data.Dataset.from_generator(read, output_signature=signature).unbatch().repeat(
            self._epochs)
