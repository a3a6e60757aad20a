"""The trie against a dictionary of prefixes."""

import numpy as np
import pytest

from gsid_jax.trie import build_trie


@pytest.mark.parametrize("seed, rows, levels, size", [(0, 1, 1, 1), (1, 50, 3, 4), (2, 500, 4, 3),
                                                     (3, 200, 2, 60_000)])
def test_children_are_those_of_a_dictionary(seed, rows, levels, size):
    codes = np.random.default_rng(seed).integers(0, size, (rows, levels)).astype(np.uint16)
    codes = codes[np.lexsort(codes.T[::-1])]
    trie, first_row = build_trie(codes)
    prefixes = [sorted({tuple(row[:t]) for row in codes.tolist()}) for t in range(levels + 1)]
    for level in range(levels):
        offsets = trie.children[level]
        assert len(offsets) == len(prefixes[level]) + 1
        for node, prefix in enumerate(prefixes[level]):
            children = [p for p in prefixes[level + 1] if p[:level] == prefix]
            assert trie.codes[level][offsets[node]:offsets[node + 1]].tolist() == [
                p[-1] for p in children]
        assert trie.fanout[level] == np.diff(offsets).max()
    ids, counts = np.unique(codes, axis=0, return_counts=True)
    np.testing.assert_array_equal(trie.ids(), ids)
    np.testing.assert_array_equal(np.diff(first_row), counts)
    np.testing.assert_array_equal(trie.find(ids), np.arange(len(ids)))


def test_an_id_that_is_not_there_is_not_found():
    trie, _ = build_trie(np.array([[0, 2], [0, 5], [3, 2]], np.uint16))
    assert trie.find([[0, 5], [0, 3], [3, 5], [9, 9], [3, 2]]).tolist() == [1, -1, -1, -1, 2]
