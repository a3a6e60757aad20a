"""From a task's name to batches: what the launcher calls where T5X calls ``seqio.get_dataset``."""

import os
from collections.abc import Callable, Iterator, Mapping

import gin
import numpy as np

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import query_item

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position


@gin.configurable
def reading(threads: int = 2, prefetch_batches: int = 4) -> tuple[int, int]:
    """Threads of the input pipeline and batches kept ready, bound in gin."""
    for name, value in (("threads", threads), ("prefetch_batches", prefetch_batches)):
        if value < 1:
            raise UserError(f"tasks.loading.reading.{name} is {value}; expected at least 1")
    return threads, prefetch_batches


def get_provider(name: str) -> seqio.Task | seqio.Mixture:
    """Returns a registered task or mixture; UserError with the known names otherwise."""
    tasks, mixtures = seqio.TaskRegistry.names(), seqio.MixtureRegistry.names()
    if name not in tasks and name not in mixtures:
        raise UserError(f"unknown task or mixture '{name}'; known tasks: {', '.join(sorted(tasks))}"
                        f"; known mixtures: {', '.join(sorted(mixtures))}; set "
                        "MIXTURE_OR_TASK_NAME to one of them or import the module that adds yours")
    return seqio.get_mixture_or_task(name)


def get_dataset(
    mixture_or_task_name: str,
    task_feature_lengths: Mapping[str, int],
    *,
    feature_converter_cls: Callable[..., seqio.FeatureConverter],
    batch_size: int,
    split: str = "train",
    shuffle: bool = True,
    seed: int = 0,
    num_epochs: int | None = None,
    shard_info: seqio.ShardInfo | None = None,
    drop_remainder: bool = True,
) -> tf.data.Dataset:
    """Returns a dataset of model batches, the same for the same arguments.

    ``batch_size`` is the global batch: each of ``shard_info.num_shards`` hosts reads its share of
    it. ``num_epochs`` None repeats without end. Examples are drawn anew in each epoch. An iterator
    can be saved with ``tf.train.Checkpoint`` and goes on exactly; ``BatchIterator`` does that.
    Raises UserError for an unknown name or split, missing or unknown feature lengths, a missing
    dataset or vocabulary, a batch that hosts or prefix groups do not divide.
    """
    provider = get_provider(mixture_or_task_name)
    shards = shard_info.num_shards if shard_info else 1
    if batch_size < 1 or batch_size % shards:
        raise UserError(f"BATCH_SIZE is {batch_size}; expected a positive multiple of the {shards} "
                        "host(s) that read it")
    host_batch = batch_size // shards
    if provider.name == "gsid_query_item":
        _check_groups(host_batch, split)
    dataset = seqio.get_dataset(
        provider,
        dict(task_feature_lengths),
        feature_converter_cls(pack=False),
        dataset_split=split,
        shuffle=shuffle,
        num_epochs=num_epochs,
        shard_info=shard_info,
        verbose=False,
        seed=seed,
    )
    threads, prefetch_batches = reading()
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    dataset = dataset.batch(host_batch, drop_remainder=drop_remainder)
    return dataset.prefetch(prefetch_batches).with_options(options)


def _check_groups(host_batch: int, split: str) -> None:
    groups = query_item.SOURCE.groups(split)
    if groups and host_batch % groups.group_size:
        raise UserError(f"a host's batch of {host_batch} items is not a multiple of the group size "
                        f"{groups.group_size}; change BATCH_SIZE or "
                        "tasks.grouping.prefix_groups.group_size")


class BatchIterator(Iterator[dict[str, np.ndarray]]):
    """Batches of a dataset as NumPy arrays; the position can be saved and restored."""

    def __init__(self, dataset: tf.data.Dataset):
        self._iterator = iter(dataset)
        self._checkpoint = tf.train.Checkpoint(iterator=self._iterator)

    def __next__(self) -> dict[str, np.ndarray]:
        return {name: array.numpy() for name, array in next(self._iterator).items()}

    def save(self, prefix: str | os.PathLike) -> None:
        """Writes the position to ``<prefix>.index`` and ``<prefix>.data-*``."""
        self._checkpoint.write(os.fspath(prefix))

    def restore(self, prefix: str | os.PathLike) -> None:
        """Goes to a saved position of the same dataset; UserError if it cannot be read."""
        try:
            self._checkpoint.read(os.fspath(prefix)).assert_consumed()
        except (tf.errors.OpError, AssertionError, ValueError) as error:
            raise UserError(f"data position {os.fspath(prefix)} cannot be restored ({error}); it "
                            "must have been saved by the same task, data and configuration"
                            ) from error
