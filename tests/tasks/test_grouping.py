"""Order of records: permutations, groups of one prefix, bounded blocks."""

import gin
import numpy as np
import pytest

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.step_order import window_order
from tasks import grouping

tf = quiet.tensorflow()

WINDOW, GROUP = 16, 4


def seed_of(number):
    return tf.constant([number, 7], tf.int64)


def runs(values):
    """Lengths of the runs of equal neighbours."""
    ends = np.flatnonzero(np.any(values[1:] != values[:-1], axis=-1)) + 1
    return np.diff([0, *ends, len(values)])


@pytest.fixture
def codes():
    random = np.random.default_rng(3)
    codes = np.stack([random.integers(0, 4, 90), random.integers(0, 3, 90)], axis=1)
    return codes[window_order(codes, GROUP, seed=0)]


def test_group_order_is_a_permutation_that_keeps_windows_together(codes):
    for number in range(5):
        order = grouping.group_order(tf.constant(codes), WINDOW, GROUP, seed_of(number)).numpy()
        assert sorted(order) == list(range(len(codes)))
        # Every run of one prefix is made of whole groups of at most GROUP records of one window.
        keys = np.concatenate([codes[order], order[:, None] // WINDOW], axis=1)
        assert len(runs(keys)) < 60


def test_groups_are_as_large_as_their_prefix_allows():
    codes = tf.constant([[0]] * 9 + [[1]] * 5 + [[2]] * 2)  # one window
    order = grouping.group_order(codes, WINDOW, GROUP, seed_of(1)).numpy()
    prefixes = codes.numpy()[order, 0]
    for prefix, size in ((0, 9), (1, 5), (2, 2)):
        assert np.sum(prefixes == prefix) == size  # never topped up, never repeated
    # Groups 4+4+1, 4+1 and 2 are shuffled as wholes: runs are sums of group sizes.
    assert set(runs(prefixes[:, None])) <= {1, 2, 4, 5, 8, 9}


def test_group_members_and_order_differ_between_seeds_but_not_between_calls(codes):
    orders = [grouping.group_order(tf.constant(codes), WINDOW, GROUP, seed_of(number)).numpy()
              for number in (1, 1, 2)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_without_seed_the_file_order_stays(codes):
    order = grouping.group_order(tf.constant(codes), WINDOW, GROUP, None).numpy()
    np.testing.assert_array_equal(order, np.arange(len(codes)))


def test_a_share_of_the_records_leaves_alone_and_the_rest_in_groups():
    codes = tf.constant(np.repeat(np.arange(4), 250)[:, None])  # one window, four prefixes
    order = grouping.group_order(codes, 1000, 50, seed_of(1), alone=0.4).numpy()
    assert sorted(order) == list(range(1000))
    lengths = runs(codes.numpy()[order])
    # Some 600 records lie in groups of 50, cut where one that is alone would hardly fall by chance.
    assert 500 < lengths[lengths >= 40].sum() < 850
    alone = runs(codes.numpy()[grouping.group_order(codes, 1000, 50, seed_of(1), alone=1.0).numpy()])
    assert alone.max() < 12 and len(alone) > 600  # as in a random permutation
    np.testing.assert_array_equal(grouping.group_order(codes, 1000, 50, seed_of(1), alone=0.4), order)


def test_memory_is_bounded_by_the_block_not_by_the_number_of_prefixes():
    records = tf.data.Dataset.range(1000)
    for number in range(3):
        sizes = [len(block) for _, block in grouping.blocks(records, 1000, 16, 4, seed_of(number))]
        assert sum(sizes) == 1000
        assert max(sizes) <= 64
        assert all(size % 16 == 0 for size in sizes[:-1])  # blocks begin where windows begin


def test_blocks_begin_elsewhere_in_every_epoch():
    records = tf.data.Dataset.range(1000)
    firsts = {len(next(iter(grouping.blocks(records, 1000, 16, 8, seed_of(number))))[1])
              for number in range(12)}
    assert len(firsts) > 2


def test_random_order_reaches_every_permutation():
    found = {tuple(grouping.random_order(3, seed_of(number)).numpy()) for number in range(60)}
    assert len(found) == 6


@pytest.mark.parametrize("name", ["group_size", "block_windows", "prefix_levels"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(UserError, match=f"prefix_groups.{name} is 0; expected at least 1"):
        grouping.prefix_groups(**{name: 0})


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match=f"alone is {share}; expected a share of the records"):
        grouping.prefix_groups(alone=share)


def test_shuffling_below_one_is_refused():
    with pytest.raises(UserError, match="block_records is 0; expected at least 1"):
        grouping.shuffling(0)


def test_sizes_are_bound_in_gin():
    with gin.unlock_config():
        gin.bind_parameter("tasks.grouping.prefix_groups.group_size", 8)
    try:
        assert grouping.prefix_groups().window == 32
    finally:
        gin.clear_config()
