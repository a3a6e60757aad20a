"""Clusterings as IDs: planted clusters are found, branching is matched, runs repeat."""

import numpy as np
import pytest
from sklearn import metrics

from gsid_jax.evaluate import branching, codes, quantizers, rqvae, tree_ids
from gsid_jax.leaf_marginals import unit

TOPS, BELOW = 6, 5


@pytest.fixture(scope="module")
def planted():
    """(items, queries near the first items, label [N, 2]) of clusters inside clusters."""
    draw = np.random.default_rng(0)
    top = draw.integers(0, TOPS, 1500)
    below = draw.integers(0, BELOW, 1500)
    centres = draw.normal(size=(TOPS, 16))
    offsets = 0.35 * draw.normal(size=(TOPS, BELOW, 16))
    items = unit(centres[top] + offsets[top, below] + 0.02 * draw.normal(size=(1500, 16)))
    queries = unit(items[:300] + 0.002 * draw.normal(size=(300, 16)))
    return items, queries, np.stack([top, top * BELOW + below], axis=1)


@pytest.mark.parametrize("kind", ["hierarchical", "residual", "flat"])
def test_planted_clusters_are_found_at_the_branching_asked_for(planted, kind):
    items, queries, labels = planted
    targets = branching.joint_perplexities(labels, nested=False)
    found = getattr(branching, kind)(items, queries, targets, seed=1)
    reached = branching.joint_perplexities(found.item_codes, found.nested)
    np.testing.assert_allclose(reached, targets, rtol=0.2)
    made = codes.level_labels(found.item_codes, found.nested)
    assert metrics.adjusted_mutual_info_score(made[:, 0], labels[:, 0]) > 0.8
    assert metrics.adjusted_mutual_info_score(made[:, 1], labels[:, 1]) > 0.75
    agree = codes.agreement(found.item_codes[:300], found.query_codes, found.nested)
    assert agree.mean(axis=0).min() > 0.9
    again = getattr(branching, kind)(items, queries, targets, seed=1)
    np.testing.assert_array_equal(again.item_codes, found.item_codes)


def test_nearest_agrees_with_faiss(planted):
    import faiss
    items, _, _ = planted
    centroids = quantizers.kmeans(items, 20, seed=0)
    _, expected = faiss.knn(items, centroids, 1)
    assert np.mean(quantizers.nearest(items, centroids) == expected[:, 0]) > 0.999


def corners() -> np.ndarray:
    """40 points around each of (0, 0), (0, 1), (10, 0), (10, 1), in this order."""
    centres = np.repeat(np.array([[0, 0], [0, 1], [10, 0], [10, 1]]), 40, axis=0)
    return (centres + 0.05 * np.random.default_rng(0).normal(size=(160, 2))).astype(np.float32)


def test_hierarchical_splits_the_far_before_the_near():
    found = quantizers.hierarchical(corners(), corners(), (2, 2))
    labels = codes.prefix_labels(found.item_codes)
    assert metrics.adjusted_rand_score(labels[:, 0], np.repeat([0, 1], 80)) == 1
    assert metrics.adjusted_rand_score(labels[:, 1], np.repeat([0, 1, 2, 3], 40)) == 1
    np.testing.assert_array_equal(found.item_codes, found.query_codes)


def test_residual_subtracts_the_centroid():
    found = quantizers.residual(corners(), corners(), (2, 2))
    assert metrics.adjusted_rand_score(found.item_codes[:, 1], np.tile(
        np.repeat([0, 1], 40), 2)) == 1


def test_fractional_children_go_to_the_larger_nodes():
    draw = np.random.default_rng(0)
    node = np.repeat([0, 1], [300, 100])
    items = draw.normal(size=(400, 4)).astype(np.float32)
    labels, _ = quantizers.child_level(items, items[:0], node, node[:0], 2.5, seed=0)
    assert labels[node == 0].max() == 2 and labels[node == 1].max() == 1


def test_rqvae_explains_variance_and_repeats(planted):
    items, queries, labels = planted
    settings = rqvae.Settings(hidden=32, latent=16, steps=150, batch=128)
    found, health = rqvae.quantize(items, queries, (8, 8), seed=3, settings=settings)
    assert 0 < health["reconstruction_error"] < 0.6
    made = codes.prefix_labels(found.item_codes)
    assert metrics.adjusted_mutual_info_score(made[:, 0], labels[:, 0]) > 0.4
    assert (found.item_codes[:300] == found.query_codes).all(axis=1).mean() > 0.8
    again, _ = rqvae.quantize(items, queries, (8, 8), seed=3, settings=settings)
    np.testing.assert_array_equal(again.item_codes, found.item_codes)


def test_tree_with_marginals_at_matched_branching(planted):
    items, queries, labels = planted
    pairs = np.stack([np.arange(300), np.arange(300)], axis=1)
    targets = branching.joint_perplexities(labels, nested=False)
    found = tree_ids.quantize(items, queries, pairs, np.ones(300, np.float32), targets, 16)
    np.testing.assert_allclose(branching.joint_perplexities(found.item_codes), targets, rtol=0.15)
    assert (found.item_codes[:300] == found.query_codes).all(axis=1).mean() > 0.9
