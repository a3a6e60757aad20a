"""A tree grown from vectors, and the blend of an item with its queries."""

import numpy as np
import pytest

from gsid_jax import query_aware, retree
from gsid_jax.errors import UserError
from gsid_jax.leaf_marginals import unit


def clustered(groups=4, inner=3, each=20, width=16, seed=0):
    """Vectors in groups of clusters, with the group of each: [N, D], [N]."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 1, 1, width)) * 4 + rng.normal(size=(groups, inner, 1, width))
    x = centres + 0.05 * rng.normal(size=(groups, inner, each, width))
    return unit(x.reshape(-1, width)), np.arange(groups).repeat(inner * each)


def same_partition(a, b):
    return len(np.unique(np.stack([a, b], 1), axis=0)) == len(np.unique(a)) == len(np.unique(b))


def test_groups_of_clusters_become_the_first_level():
    x, group = clustered()
    for seed in range(3):
        codes = retree.grow_tree(x, [4, 30], size=16, seed=seed)
        assert same_partition(codes[:, 0], group)
        assert len(np.unique(codes, axis=0)) == 30
        np.testing.assert_array_equal(codes, retree.grow_tree(x, [4, 30], size=16, seed=seed))


def test_no_node_has_more_children_than_codes_and_the_largest_is_the_first():
    x = unit(np.random.default_rng(0).normal(size=(400, 8)))
    codes = retree.grow_tree(x, [5, 20, 100], size=5, seed=0)
    assert codes.min() == 0 and codes.max() <= 4
    assert len(np.unique(codes, axis=0)) <= 100
    counts = np.bincount(codes[:, 0])
    assert (np.diff(counts) <= 0).all()


def test_children_too_many_move_to_the_closest_parent_with_room():
    parents = unit(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    nodes = unit(np.array([[1, 0, 0], [1, 0.1, 0], [1, 0.2, 0.4], [0, 1, 0]]))
    seated = retree._seated(nodes, parents, np.array([0, 0, 0, 1]), size=2)
    np.testing.assert_array_equal(seated, [0, 0, 2, 1])
    np.testing.assert_array_equal(retree._seated(nodes, parents, np.array([0, 0, 0, 1]), 3),
                                  [0, 0, 0, 1])


def test_levels_too_large_for_a_dendrogram_are_merged_all_the_same(monkeypatch):
    monkeypatch.setattr(retree, "DENDROGRAM_NODES", 30)
    x = unit(np.random.default_rng(0).normal(size=(400, 8)))
    codes = retree.grow_tree(x, [5, 20, 100], size=5, seed=0)
    assert codes.max() <= 4 and 80 <= len(np.unique(codes, axis=0)) <= 100
    assert len(np.unique(codes[:, :2], axis=0)) <= 20


@pytest.mark.parametrize("leaves, sizes", [(100, [8, 28, 100]), (512, [8, 64, 512]), (5, [5, 5, 5])])
def test_level_sizes(leaves, sizes):
    found = retree.level_sizes(leaves, 3, 8)
    assert found == sizes
    assert all(here <= above * 8 for above, here in zip([1, *found], found))


def test_sizes_that_do_not_fit_are_named():
    x = unit(np.ones((10, 4)))
    with pytest.raises(UserError, match="600 leaves do not fit into 3 levels of 8 codes"):
        retree.level_sizes(600, 3, 8)
    with pytest.raises(UserError, match="level 2 of a tree was asked for 9 nodes; expected 1 to 8"):
        retree.grow_tree(x, [2, 9], size=4)
    with pytest.raises(UserError, match="asked for 12 leaves from 10 items"):
        retree.grow_tree(x, [4, 12], size=4)


def test_queries_share_as_training_draws_them():
    weights = query_aware.query_weights(np.array([0, 1, 2]), np.array([0, 0, 2]),
                                        np.array([1.0, 9.0, 4.0]), num_items=3)
    np.testing.assert_allclose(weights.share, [0.25, 0.75, 1.0])
    items = np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    pairs = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(query_aware.blend_probs(items, pairs, weights, 0.5),
                               [[0.875, 0.125], [0.5, 0.5], [0.5, 0.5]])
    blended = query_aware.blend_vectors(unit(items), unit(pairs), weights, 0.5)
    np.testing.assert_allclose(blended[0], unit(np.array([1 + 0.375, 0.125])), atol=1e-6)
    np.testing.assert_allclose(blended[1], unit(items)[1], atol=1e-6)
