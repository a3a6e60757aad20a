"""The SeqIO task class of this package: checks what it is asked, leaves epochs to its source."""

import zlib
from collections.abc import Mapping

from gsid_jax import quiet
from gsid_jax.errors import UserError

tf = quiet.tensorflow()
import seqio  # pylint: disable=wrong-import-position


class CatalogueTask(seqio.Task):
    """A task over a source of ``tasks.sources``.

    The source repeats and shuffles, so SeqIO's own repeating, shuffling and caching (which would
    freeze the first epoch's order) are off; the preprocessors trim. Each task of a mixture folds
    its name into the seed, so that they do not go through the items side by side.
    ``length_keys`` are the features whose lengths a caller must give, and no others.
    """

    def __init__(self, *args, length_keys: tuple[str, ...] = (), **kwargs):
        super().__init__(*args, shuffle_buffer_size=None, **kwargs)
        self.length_keys = length_keys

    def get_dataset(self, sequence_length: Mapping[str, int] | None = None, split: str = "train",
                    use_cached: bool = False, shuffle: bool = True,
                    shuffle_buffer_size: int | None = None, seed: int | None = None,
                    shard_info: seqio.ShardInfo | None = None, num_epochs: int | None = 1,
                    trim_output_features: bool = True,
                    try_in_mem_cache: bool = True) -> tf.data.Dataset:
        """See ``seqio.Task.get_dataset``; UserError for wrong lengths or an unknown split."""
        del use_cached, shuffle_buffer_size, trim_output_features, try_in_mem_cache
        self._check_lengths(sequence_length)
        if split not in self.splits:
            raise UserError(f"task {self.name} has no split '{split}'; it has "
                            f"{', '.join(self.splits) or 'none'}")
        if seed is not None:
            seed = (seed + zlib.crc32(self.name.encode())) % (1 << 31)
        task = self.replace(source=self.source.for_epochs(num_epochs))
        return task.get_dataset(sequence_length, split=split, shuffle=shuffle, seed=seed,
                                shard_info=shard_info, num_epochs=1, trim_output_features=False,
                                try_in_mem_cache=False)

    def _check_lengths(self, lengths: Mapping[str, int] | None) -> None:
        if lengths is None:
            return
        expected = f"expected {{{', '.join(f'{key!r}: N' for key in self.length_keys)}}}"
        missing = [key for key in self.length_keys if key not in lengths]
        extra = [key for key in lengths if key not in self.length_keys]
        if missing or extra:
            fault = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(extra)}"
            raise UserError(f"TASK_FEATURE_LENGTHS of task {self.name} {fault}; got "
                            f"{dict(lengths)}, {expected}")
        for key, length in lengths.items():
            if not isinstance(length, int) or length < 2:
                raise UserError(f"TASK_FEATURE_LENGTHS of task {self.name} has '{key}': {length}; "
                                "expected an integer of at least 2, one token and the EOS")
