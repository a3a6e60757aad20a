"""The last level of a tree, grown anew inside published prefixes."""

import numpy as np

from tools.extension import tree_levels


def clusters(centres, counts, seed=0):
    """Unit vectors around axes, so many around each."""
    x = np.eye(6, dtype=np.float32)[np.repeat(centres, counts)]
    x += 0.01 * np.random.default_rng(seed).normal(size=x.shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_items_of_a_prefix_are_split_by_their_vectors_the_largest_first():
    x = clusters([0, 1, 2, 3], [4, 9, 3, 5])
    prefix = np.array([[0, 0]] * 13 + [[0, 5]] * 8)
    codes = tree_levels.split(x, tree_levels.prefix_groups(prefix), [2, 1], 8, seed=0)
    assert codes.dtype == np.int32
    assert codes.tolist() == [1] * 4 + [0] * 9 + [0] * 8


def test_no_more_codes_than_k_or_items():
    x = clusters([0, 1, 2], [1, 1, 1])
    assert set(tree_levels.split(x, [np.arange(3)], [9], 2, 0)) == {0, 1}
    assert set(tree_levels.split(x, [np.arange(3)], [9], 8, 0)) == {0, 1, 2}


def test_without_a_prefix_all_items_are_one_group():
    rows, = tree_levels.prefix_groups(np.zeros((4, 0), int))
    assert rows.tolist() == [0, 1, 2, 3]


def test_large_prefixes_get_more_children():
    prefix = np.array([[0]] * 30 + [[1]] * 9 + [[2]])
    assert tree_levels.even_children(tree_levels.prefix_groups(prefix), 2.0).tolist() == [4, 1, 1]


def test_codes_keep_their_numbers_where_they_hold_the_same_items():
    prefix = np.array([[0]] * 5 + [[1]] * 3)
    old = np.array([2, 2, 7, 7, -1, 1, 1, 1])
    new = np.array([1, 1, 0, 0, 0, 0, 0, 1])
    found = tree_levels.matched(old, new, tree_levels.prefix_groups(prefix), 8)
    assert found[:7].tolist() == [2, 2, 7, 7, 7, 1, 1] and found[7] not in (1, -1)
