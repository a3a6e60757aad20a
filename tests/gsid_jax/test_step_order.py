"""The order of a step's training records."""

import numpy as np
import pytest

from gsid_jax import step_order


@pytest.fixture(scope="module")
def codes():
    random = np.random.default_rng(0)
    return np.minimum(random.geometric(0.2, (1003, 2)), 9).astype(np.uint16)


def windows(order, group_size):
    size = step_order.WINDOW_GROUPS * group_size
    return [order[start:start + size] for start in range(0, len(order), size)]


def test_every_record_comes_once(codes):
    order = step_order.window_order(codes, group_size=8, seed=1)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(codes)))


def test_windows_are_full_but_for_the_last_and_sorted_by_prefix(codes):
    cut = windows(step_order.window_order(codes, group_size=8, seed=1), 8)
    assert {len(window) for window in cut[:-1]} == {32}
    assert len(cut[-1]) == 1003 % 32
    for window in cut:
        prefixes = [tuple(row) for row in codes[window]]
        assert prefixes == sorted(prefixes)


def test_shuffled_windows_cut_one_sorted_list(codes):
    cut = windows(step_order.window_order(codes, group_size=8, seed=1), 8)
    firsts = [tuple(codes[window[0]]) for window in cut[:-1]]
    assert firsts != sorted(firsts)
    by_start = sorted(cut, key=lambda w: (tuple(codes[w[0]]), tuple(codes[w[-1]])))
    prefixes = [tuple(row) for row in codes[np.concatenate(by_start)]]
    assert prefixes == sorted(prefixes)


def test_seed_decides_the_order(codes):
    first, again, other = (step_order.window_order(codes, 8, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fewer_records_than_a_window():
    order = step_order.window_order(np.array([[2], [1], [1]], np.uint16), group_size=32, seed=0)
    assert order[-1] == 0 and sorted(order) == [0, 1, 2]
