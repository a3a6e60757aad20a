"""Lists of items per trigger."""

import numpy as np

from gsid_jax.evaluate.lists import Lists


def test_lists_count_repeated_values_once_and_subtract():
    lists = Lists.from_pairs([2, 0, 2, 2], [5, 1, 3, 5], 4)
    assert lists.values.tolist() == [1, 3, 5]
    assert lists.counts.tolist() == [1, 0, 2, 0]
    assert lists.rows.tolist() == [0, 2, 2]
    less = lists.without(Lists.of([[1], [], [9, 3], []]))
    assert less.values.tolist() == [5] and less.counts.tolist() == [0, 0, 1, 0]
    assert lists.slice(1, 3).values.tolist() == [3, 5]
    assert lists.contains(np.array([2, 1]), np.array([5, 5])).tolist() == [True, False]
    assert len(Lists.of([])) == 0
