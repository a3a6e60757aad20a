"""Pre-training and the dual encoder behind the model contract."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import unfreeze

from gsid_jax.models import DualEncoderModel, PretrainModel

from . import batches


@pytest.fixture(scope="module")
def text_batch():
    tokens = jnp.asarray(np.random.default_rng(0).integers(2, batches.VOCAB, (8, 6)), jnp.int32)
    targets = tokens[:, :4].at[:, 3].set(1)
    return dict(encoder_input_tokens=tokens, decoder_target_tokens=targets,
                decoder_input_tokens=jnp.pad(targets[:, :-1], ((0, 0), (1, 0))),
                decoder_loss_weights=jnp.ones((8, 4), jnp.int32))


def fit(model, batch, steps, rate=3e-3):
    params = unfreeze(model.get_initial_variables(jax.random.key(0))["params"])
    optimizer = optax.adam(rate)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        (loss, _), grads = jax.value_and_grad(model.loss_fn, has_aux=True)(
            params, batch, jax.random.key(1))
        with jax.numpy_dtype_promotion("standard"):  # optax itself mixes dtypes
            updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    for _ in range(steps):
        params, state, loss = step(params, state)
    return params, loss


def test_pretraining_learns_and_predicts_what_it_learned(text_batch):
    model = PretrainModel(batches.network())
    params, loss = fit(model, text_batch, 150)
    assert loss < 0.1
    np.testing.assert_array_equal(jax.jit(model.predict_batch)(params, text_batch),
                                  text_batch["decoder_target_tokens"])
    score = model.score_batch(params, text_batch)
    np.testing.assert_allclose(jnp.mean(score), -4 * loss, atol=0.05)


def test_pretraining_loss_counts_only_weighted_tokens(text_batch):
    model = PretrainModel(batches.network())
    params = model.get_initial_variables(jax.random.key(0))["params"]
    weights = text_batch["decoder_loss_weights"].at[:, 2:].set(0)
    masked = dict(text_batch, decoder_loss_weights=weights)
    changed = dict(masked, decoder_target_tokens=masked["decoder_target_tokens"].at[:, 3].set(7))
    assert model.loss_fn(params, masked)[0] == model.loss_fn(params, changed)[0]
    assert model.loss_fn(params, masked)[1]["loss"].count == 16


def test_label_smoothing_and_z_loss_raise_the_loss(text_batch):
    plain = PretrainModel(batches.network())
    params = plain.get_initial_variables(jax.random.key(0))["params"]
    loss = plain.loss_fn(params, text_batch)[0]
    assert PretrainModel(batches.network(), z_loss=0.1).loss_fn(params, text_batch)[0] > loss
    metrics = PretrainModel(batches.network(), label_smoothing=0.1).loss_fn(params, text_batch)[1]
    assert metrics["cross_entropy"].compute() == pytest.approx(float(loss), rel=1e-5)


def test_dual_encoder_learns_to_match():
    batch = batches.gsid_batch()
    model = DualEncoderModel(batches.network())
    params, loss = fit(model, batch, 60)
    metrics = model.eval_fn(params, batch)[1]
    assert metrics["query_accuracy"].compute() > 0.9
    embedding, aux = model.predict_batch_with_aux(
        params, {"encoder_input_tokens": batch["item_tokens"]})
    np.testing.assert_allclose(jnp.linalg.norm(embedding, axis=-1), 1.0, rtol=1e-4)
    assert aux["embedding"].shape == (16, 16)
    assert model.score_batch(params, batch).mean() > 0.5


def test_padding_queries_count_nowhere():
    batch = batches.gsid_batch()
    model = DualEncoderModel(batches.network())
    params = model.get_initial_variables(jax.random.key(0))["params"]
    batch["query_weights"] = batch["query_weights"].at[:, 1].set(0.0)
    batch["query_ids"] = batch["query_ids"].at[:, 1].set(0)
    noise = dict(batch, query_tokens=batch["query_tokens"].at[:, 1].set(5))
    np.testing.assert_allclose(model.loss_fn(params, batch)[0], model.loss_fn(params, noise)[0],
                               rtol=1e-6)
