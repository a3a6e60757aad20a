"""The order of training records: shuffled blocks, and groups that share their prefix.

At step t > 1 a batch is made of groups of at most S items with the same prefix z_<t: hard
negatives inside a group, easy ones across (progressive negatives, paper 2.2.3). The assignment
wrote the records as windows of same-prefix neighbours, so one block of windows in memory is all a
reader needs, however many prefixes there are. Short groups are never topped up.

Every order here is a function of the seed, the epoch and the block alone. An iterator restored
from a checkpoint therefore goes on exactly, also over the end of an epoch, which tf.data's own
reshuffling does not promise behind parallel maps.
"""

import dataclasses

import gin

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.step_order import WINDOW_GROUPS

tf = quiet.tensorflow()


@dataclasses.dataclass(frozen=True)
class PrefixGroups:
    """How batches are grouped by prefix."""
    enabled: bool = True  # False: random batches at every step (ablation)
    group_size: int = 32  # S, at most this many items of one prefix side by side
    block_windows: int = 32  # windows in memory at once; their groups are mixed
    prefix_levels: int | None = None  # codes that a group has in common; None: all of a record
    alone: float = 0.0  # share of records that are a group of their own
    written_size: int | None = None  # S of the assignment that wrote the records; None: the same

    @property
    def window(self) -> int:
        """Records of a window, as the assignment wrote them."""
        return WINDOW_GROUPS * (self.written_size or self.group_size)


@gin.configurable
def prefix_groups(enabled: bool = True, group_size: int = 32, block_windows: int = 32,
                  prefix_levels: int | None = None, alone: float = 0.0) -> PrefixGroups:
    """Returns the grouping bound in gin; UserError for sizes below 1 or an ``alone`` outside [0, 1].

    Without groups the records of a step are shuffled in blocks (``shuffling``). The assignment wrote
    them in the order of their prefixes, so batches are random only where a block holds the whole
    file: smaller ones make batches of like items.
    ``group_size`` is at most the one the assignment wrote its windows for. Smaller groups leave more
    of a batch to easy negatives; so does a share ``alone``, drawn anew in each epoch, that leaves in
    random places: its queries meet easy negatives only, those of the rest as many hard ones as ever.
    Fewer ``prefix_levels`` than a record has codes (the fit's have all T) make negatives that are
    less hard, and less often what the query means as well.
    """
    for name, value in (("group_size", group_size), ("block_windows", block_windows),
                        ("prefix_levels", prefix_levels)):
        if value is not None and value < 1:
            raise UserError(f"tasks.grouping.prefix_groups.{name} is {value}; expected at least 1")
    if not 0 <= alone <= 1:
        raise UserError(f"tasks.grouping.prefix_groups.alone is {alone}; expected a share of the "
                        "records, from 0 to 1")
    return PrefixGroups(enabled, group_size, block_windows, prefix_levels, alone)


@gin.configurable
def shuffling(block_records: int = 4096) -> int:
    """Returns how many records are shuffled at once where batches are not grouped."""
    if block_records < 1:
        raise UserError(f"tasks.grouping.shuffling.block_records is {block_records}; expected at "
                        "least 1")
    return block_records


def blocks(records: tf.data.Dataset, count: int, unit: int, units: int,
           seed: tf.Tensor | None) -> tf.data.Dataset:
    """Cuts ``records`` (``count`` of them) into blocks of ``units * unit``, enumerated.

    With a seed (int64 [2]) the first block is shorter by a random number of units, so that blocks
    do not hold the same records in every epoch.
    """
    size = unit * units
    if seed is None or count <= size:
        return records.batch(size).enumerate()
    first = unit * tf.random.stateless_uniform([], seed, 1, units + 1, tf.int64)
    return records.take(first).batch(first).concatenate(records.skip(first).batch(size)).enumerate()


def random_order(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns a permutation int32 [count], decided by ``seed`` (int64 [2])."""
    # 64-bit draws: equal ones, which would favour the lower index, do not occur in practice.
    draws = tf.random.stateless_uniform([count], seed, None, None, tf.int64)
    return tf.argsort(draws)


def group_order(codes: tf.Tensor, window: int, group_size: int,
                seed: tf.Tensor | None, alone: float = 0.0) -> tf.Tensor:
    """Returns int32 [n], the order in which the records of a block leave in groups.

    codes: int [n, C], the prefixes; the block starts at a window's first record. Inside each window
    records are permuted, sorted by prefix and cut into groups of at most ``group_size``; then the
    groups of the block are shuffled. A share ``alone`` of the records, drawn at random, are groups
    of their own. ``seed`` is int64 [2]; None keeps the order of the file.
    """
    count = tf.shape(codes)[0]
    seeds = None if seed is None else tf.random.split(seed, 2)
    shuffled = tf.range(count) if seed is None else random_order(count, seeds[0])
    windows = tf.cast(shuffled // window, codes.dtype)
    keys = tf.concat([windows[:, None], tf.gather(codes, shuffled)], axis=1)
    prefix = tf.raw_ops.UniqueV2(x=keys, axis=[0]).idx  # ids of (window, prefix) in random order
    if alone and seed is not None:
        drawn = tf.random.stateless_uniform([count], tf.random.fold_in(seed, 1)) < alone
        prefix = tf.where(drawn, count + tf.range(count), prefix)
    by_prefix = tf.argsort(prefix, stable=True)
    order, prefix = tf.gather(shuffled, by_prefix), tf.gather(prefix, by_prefix)
    if seed is None:
        return order
    rank = tf.range(count) - tf.searchsorted(prefix, prefix, side="left")
    group = tf.cumsum(tf.cast(rank % group_size == 0, tf.int32)) - 1
    places = random_order(group[-1] + 1, seeds[1])
    return tf.gather(order, tf.argsort(tf.gather(places, group), stable=True))
