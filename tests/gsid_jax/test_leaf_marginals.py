"""Leaf marginals over plain arrays, by hand and against the model's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsid_jax import leaf_marginals
from gsid_jax.errors import UserError
from gsid_jax.leaf_model import leaf_log_probs
from gsid_jax.leaf_marginals import Leaves

CODES = np.array([[0, 0], [0, 2], [1, 0]], np.int32)
AXES = np.eye(3, dtype=np.float32)


def three_leaves():
    return Leaves(CODES, AXES[:, None, :])


def test_a_leaf_is_the_mean_of_its_items():
    codes = np.array([[1, 0], [0, 2], [1, 0]])
    outputs = np.array([[[1, 0], [0, 1]], [[0, 2], [2, 0]], [[0, 1], [0, 3]]], np.float32)
    leaves = leaf_marginals.grow(codes, outputs)
    np.testing.assert_array_equal(leaves.codes, [[0, 2], [1, 0]])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(leaves.prototypes, [[[0, 1], [1, 0]], [[half, half], [0, 1]]],
                               atol=1e-6)


def test_grown_by_chunks_it_is_the_same():
    rng = np.random.default_rng(0)
    codes, outputs = rng.integers(0, 3, (50, 2)), rng.normal(size=(50, 2, 4))
    grower = leaf_marginals.Grower(codes)
    for start in range(0, 50, 7):
        grower.add(slice(start, start + 7), outputs[start:start + 7])
    whole, parts = leaf_marginals.grow(codes, outputs), grower.leaves()
    np.testing.assert_array_equal(whole.codes, parts.codes)
    np.testing.assert_allclose(whole.prototypes, parts.prototypes, atol=1e-6)


def test_scores_sum_over_the_ids_below_a_prefix():
    x = np.array([[0.6, 0.8, 0.0]], np.float32)
    first = leaf_marginals.level_scores(x, np.zeros((1, 0), np.int32), three_leaves(), 4, tau=0.5)
    weight = np.array([np.exp(0.6 / 0.5) + np.exp(0.8 / 0.5), np.exp(0.0)])
    np.testing.assert_allclose(np.exp(first[0, :2]), weight / weight.sum(), rtol=1e-5)
    assert np.isneginf(first[0, 2:]).all()
    second = leaf_marginals.level_scores(x, np.array([[0]]), three_leaves(), 4, tau=0.5)
    np.testing.assert_allclose(second[0, 2] - second[0, 0], 0.2 / 0.5, rtol=1e-5)
    assert np.isneginf(second[0, [1, 3]]).all()


def test_lookup_gives_valid_ids_only():
    x = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    codes, log_probs = leaf_marginals.lookup(x, three_leaves(), 4)
    assert {tuple(row) for row in codes.tolist()} == {tuple(row) for row in CODES.tolist()}
    assert (log_probs <= 1e-6).all() and codes.dtype == np.int32


def test_the_model_scores_alike():
    rng = np.random.default_rng(1)
    codes = np.unique(rng.integers(0, 4, (30, 3)), axis=0).astype(np.int32)
    leaves = Leaves(codes, leaf_marginals.unit(rng.normal(size=(len(codes), 3, 5))))
    outputs = leaf_marginals.unit(rng.normal(size=(6, 3, 5)))
    prefix = codes[:6, :2]
    logits = jnp.einsum("btd,mtd->btm", outputs, leaves.prototypes) / 0.1
    ours = np.asarray(leaf_log_probs(logits, jnp.asarray(codes), jnp.asarray(prefix), 4))
    for level in range(3):
        theirs = leaf_marginals.level_scores(outputs[:, level], prefix[:, :level], leaves, 4, 0.1)
        valid = np.isfinite(theirs)
        np.testing.assert_allclose(ours[:, level][valid], theirs[valid], atol=1e-4)
        assert (ours[:, level][~valid] < -1e6).all()


def test_invalid_codes_get_no_gradient_and_none_is_infinite():
    def loss(d_BxD):
        logits = (d_BxD @ jnp.asarray(AXES).T)[:, None, :] / 0.1
        logp = leaf_log_probs(jnp.tile(logits, (1, 2, 1)), jnp.asarray(CODES),
                              jnp.array([[1]], jnp.int32), 4)
        return -logp[0, 0, 1] - logp[0, 1, 0]

    gradient = np.asarray(jax.jit(jax.grad(loss))(jnp.array([[0.1, 0.2, 0.3]])))
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_saved_and_loaded(tmp_path):
    three_leaves().save(tmp_path / "leaves.npz")
    loaded = leaf_marginals.load(tmp_path / "leaves.npz")
    np.testing.assert_array_equal(loaded.codes, CODES)
    assert [path.name for path in tmp_path.iterdir()] == ["leaves.npz"]
    (tmp_path / "leaves.npz").write_bytes(b"no archive")
    for name in ("leaves.npz", "absent.npz"):
        with pytest.raises(UserError, match="prototypes of the IDs cannot be read .*; expected"):
            leaf_marginals.load(tmp_path / name)
