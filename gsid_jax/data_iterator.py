"""The trainer's batches from SeqIO: NumPy arrays, with a position that can be saved and restored.

The trainer asks no more of its data than this: a config with `batch_size` and
`open(model, shard_index, num_shards)`, which returns an iterator with `element_spec`, `__next__`,
`save(directory)` and `restore(directory)`. TensorFlow loads when a dataset is opened.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from gsid_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """A SeqIO task or mixture as batches; the names are T5X's."""

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]  # tokens, EOS included
    split: str
    batch_size: int  # examples, over all hosts
    shuffle: bool = True
    seed: int = 0
    num_epochs: int | None = None  # None repeats without end

    def open(self, model: Any, shard_index: int = 0, num_shards: int = 1) -> "TaskIterator":
        """This host's share of the batches, converted as `model.FEATURE_CONVERTER_CLS` says.

        Raises UserError for what is wrong with the task, its data or the vocabulary, and for a
        vocabulary with more ids than the model has embeddings.
        """
        from tasks import loading
        import seqio

        check_vocabulary(model)
        dataset = loading.get_dataset(
            self.mixture_or_task_name, self.task_feature_lengths,
            feature_converter_cls=model.FEATURE_CONVERTER_CLS, batch_size=self.batch_size,
            split=self.split, shuffle=self.shuffle, seed=self.seed, num_epochs=self.num_epochs,
            shard_info=seqio.ShardInfo(shard_index, num_shards))
        return TaskIterator(dataset, self.batch_size // num_shards, shard_index)


def check_vocabulary(model: Any) -> None:
    """Raises UserError if the vocabulary in force has more ids than the model has embeddings."""
    from tasks import location
    from tasks.vocabulary import VOCABULARY

    rows = model.module.config.vocab_size
    if location.current().vocabulary and VOCABULARY.vocab_size > rows:
        raise UserError(
            f"vocabulary {location.current().vocabulary} has {VOCABULARY.vocab_size} ids with its "
            f"extra ids, but network.T5Config.vocab_size is {rows}; expected at least as many: "
            f"set VOCAB_SIZE = {-(-VOCABULARY.vocab_size // 128) * 128}, or give the vocabulary "
            "that the model is meant for")


class TaskIterator(Iterator[dict[str, np.ndarray]]):
    """Batches of a tf.data.Dataset; its position is saved with tf.train.Checkpoint."""

    def __init__(self, dataset: Any, batch_size: int, shard_index: int = 0):
        from tasks import loading
        self._batches = loading.BatchIterator(dataset)
        self._name = f"host_{shard_index}"
        self.element_spec = {
            name: jax.ShapeDtypeStruct((batch_size, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
            for name, spec in dataset.element_spec.items()}

    def __next__(self) -> dict[str, np.ndarray]:
        try:
            return next(self._batches)
        except Exception as error:
            from gsid_jax import quiet
            if not isinstance(error, quiet.tensorflow().errors.OpError):
                raise
            # Without the names of TensorFlow's nodes and iterators before the file's.
            text = re.sub(r"\{\{.*?\}\} |.*Iterator::\S+ ", "", str(error).splitlines()[0])
            raise UserError(
                f"the training data can no longer be read: {text[:400]}; "
                "expected the files that were there at the start: restore them, and the same "
                "command goes on from the last checkpoint") from error

    def save(self, directory: str) -> None:
        """Writes the position into `directory`, a name for each host."""
        self._batches.save(os.path.join(directory, self._name))

    def restore(self, directory: str) -> None:
        """Goes to a saved position; UserError if it cannot be read."""
        self._batches.restore(os.path.join(directory, self._name))
