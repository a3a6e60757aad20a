"""Decoding through the valid IDs, and the short fit to a new tree."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsid_jax import leaf_marginals
from gsid_jax.leaf_model import FitModel, with_leaves

from .batches import K, T, gsid_batch, gsid_model, network

CODES = np.unique(np.random.default_rng(0).integers(0, K, (12, T)), axis=0).astype(np.int32)


@pytest.fixture
def leaves_file(tmp_path):
    """A random prototype for each of the valid IDs."""
    prototypes = np.random.default_rng(1).normal(size=(len(CODES), T, 16))
    leaf_marginals.Leaves(CODES, leaf_marginals.unit(prototypes)).save(tmp_path / "leaves.npz")
    return str(tmp_path / "leaves.npz")


def items():
    return gsid_batch(T + 1, items=len(CODES)) | {"item_codes": jnp.asarray(CODES)}


def test_only_valid_ids_are_decoded_and_each_level_follows_the_scores(leaves_file):
    model = with_leaves(gsid_model(T), leaves_file, 0.1)
    variables = jax.jit(model.get_initial_variables)(jax.random.key(0))
    mutables = {name: variables[name] for name in ("codebook", "leaves")}
    batch = {"encoder_input_tokens": items()["item_tokens"]}
    codes, aux = jax.jit(lambda params, batch, mutables: model.predict_batch_with_aux(
        params, batch, flax_mutables=mutables))(variables["params"], batch, mutables)
    valid = {tuple(row) for row in CODES.tolist()}
    assert all(tuple(row) in valid for row in np.asarray(codes).tolist())
    np.testing.assert_allclose(np.asarray(aux["soft"]).sum(-1), 1.0, rtol=1e-5)
    for level in range(T):
        scores = leaf_marginals.level_scores(
            np.asarray(aux["outputs"][:, level]), np.asarray(codes)[:, :level],
            leaf_marginals.load(leaves_file), K, 0.1)
        np.testing.assert_array_equal(scores.argmax(axis=1), codes[:, level])
        np.testing.assert_allclose(scores.max(axis=1), aux["log_prob"][:, level], atol=1e-4)


def test_the_fit_learns_the_given_ids_and_moves_only_prototypes(leaves_file):
    model = FitModel(network(), level=T, codebook=gsid_model().codebook, leaves=leaves_file)
    variables = jax.jit(model.get_initial_variables)(jax.random.key(0))
    params = variables["params"]
    mutables = {name: variables[name] for name in ("codebook", "leaves")}
    optimizer = optax.adam(3e-3)
    state = optimizer.init(params)
    batch = items()

    @jax.jit
    def step(params, mutables, state):
        (_, (metrics, mutables)), grads = jax.value_and_grad(model.loss_fn, has_aux=True)(
            params, batch, None, mutables)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), mutables, state, metrics

    reports = []
    before = mutables
    for _ in range(40):
        params, mutables, state, metrics = step(params, mutables, state)
        reports.append({name: float(value.compute()) for name, value in metrics.items()})
    assert reports[-1]["commitment"] < 0.7 * reports[0]["commitment"]
    assert reports[-1]["codes_agree"] > reports[0]["codes_agree"]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), before["codebook"],
                                     mutables["codebook"]))
    np.testing.assert_array_equal(mutables["leaves"]["codes"], CODES)
    assert not np.allclose(mutables["leaves"]["prototypes"], before["leaves"]["prototypes"])
    np.testing.assert_allclose(np.linalg.norm(mutables["leaves"]["prototypes"], axis=-1), 1.0,
                               rtol=1e-4)


def test_a_prototype_without_items_in_the_batch_stays(leaves_file):
    model = FitModel(network(), level=T, codebook=gsid_model().codebook, leaves=leaves_file)
    variables = jax.jit(model.get_initial_variables)(jax.random.key(0))
    mutables = {name: variables[name] for name in ("codebook", "leaves")}
    few = jax.tree.map(lambda x: x[:3], items())
    _, (_, after) = jax.jit(model.loss_fn)(variables["params"], few, None, mutables)
    moved = np.abs(np.asarray(after["leaves"]["prototypes"] - mutables["leaves"]["prototypes"]))
    assert (moved[:3].max(axis=(1, 2)) > 1e-4).all() and moved[3:].max() < 1e-5


def test_queries_are_compared_after_their_own_codes_if_asked(leaves_file):
    options = dict(level=T, codebook=gsid_model().codebook, leaves=leaves_file)
    variables = FitModel(network(), **options).get_initial_variables(jax.random.key(0))
    mutables = {name: variables[name] for name in ("codebook", "leaves")}
    batch = items()
    same = jnp.broadcast_to(batch["item_codes"][:, None], batch["query_codes"].shape)

    def terms(query_prefix, query_codes):
        model = FitModel(network(), query_prefix=query_prefix, **options)
        _, (metrics, _) = jax.jit(model.loss_fn)(
            variables["params"], batch | {"query_codes": query_codes}, None, mutables)
        return [float(metrics[name].compute()) for name in ("contrastive", "commitment")]

    after_the_items = terms("item", same)
    np.testing.assert_allclose(terms("own", same), after_the_items, rtol=1e-5)
    contrastive, commitment = terms("own", (same + 1) % K)
    assert abs(contrastive - after_the_items[0]) > 1e-4
    np.testing.assert_allclose(commitment, after_the_items[1], rtol=1e-5)
