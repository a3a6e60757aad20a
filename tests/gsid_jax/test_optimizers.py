"""Schedules, clipping, freezing and weight decay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsid_jax import optimizers
from gsid_jax.errors import UserError

PARAMS = {"encoder": {"kernel": jnp.array([[1.0, -2.0], [0.5, -0.0]]), "scale": jnp.ones(2)},
          "decoder": {"kernel": jnp.array([[0.3, 0.2], [0.1, 0.4]])}}


def updated(optimizer, params=PARAMS, steps=3, grad=1.0):
    state = optimizer.init(params)
    for _ in range(steps):
        grads = jax.tree.map(lambda p: jnp.full_like(p, grad), params)
        updates, state = jax.jit(optimizer.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decays_end_at_zero(decay):
    rate = optimizers.schedule(0.1, decay, warmup_steps=10, total_steps=110)
    rates = [float(rate(jnp.int32(step))) for step in (0, 4, 9, 10, 60, 110, 200)]
    np.testing.assert_allclose(rates, [0.01, 0.05, 0.1, 0.1, 0.05, 0.0, 0.0], atol=1e-7)


def test_cosine_is_slow_at_both_ends():
    rate = optimizers.schedule(1.0, "cosine", total_steps=100)
    assert float(rate(jnp.int32(25))) == pytest.approx(0.5 + 0.5 * np.cos(np.pi / 4))


def test_rsqrt_and_constant():
    rate = optimizers.schedule(0.1, "rsqrt", warmup_steps=100)
    np.testing.assert_allclose([float(rate(jnp.int32(s))) for s in (0, 99, 400, 10000)],
                               [0.001, 0.1, 0.05, 0.01], rtol=1e-6)
    rate = optimizers.schedule(0.1, "constant", warmup_steps=2)
    np.testing.assert_allclose([float(rate(jnp.int32(s))) for s in (0, 1, 10**6)],
                               [0.05, 0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize("options,message", [
    (dict(decay="lineal"), r"decay is 'lineal'; expected one of \('constant', 'linear'"),
    (dict(decay="linear"), "total_steps is None with warmup_steps=0"),
    (dict(decay="cosine", total_steps=5, warmup_steps=5), "lower WARMUP_STEPS or raise TRAIN_ST"),
    (dict(learning_rate=-1.0, decay="constant"), "expected neither below 0"),
])
def test_schedule_errors(options, message):
    with pytest.raises(UserError, match=message):
        optimizers.schedule(**options)


def test_clipping_bounds_the_global_norm():
    clip = optimizers.clip_by_global_norm(1.0)
    grads = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    updates, state = clip.update(grads, clip.init(grads))
    assert float(state.grad_norm) == 5.0
    np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [0.6, 0.8], rtol=1e-6)
    small, _ = clip.update({"a": jnp.array([0.3])}, state)
    assert small["a"][0] == jnp.float32(0.3)
    free, state = optimizers.clip_by_global_norm(None).update(grads, state)
    assert free["a"][0] == 3.0 and float(state.grad_norm) == 5.0


@pytest.mark.parametrize("make", [optimizers.adamw, optimizers.adafactor])
def test_frozen_parameters_keep_every_bit(make):
    optimizer = make(0.1, weight_decay=0.5, frozen=("encoder/.*",))
    params, state = updated(optimizer)
    for name in ("kernel", "scale"):  # the kernel holds a -0.0
        assert (np.asarray(params["encoder"][name]).tobytes()
                == np.asarray(PARAMS["encoder"][name]).tobytes())
    assert np.all(params["decoder"]["kernel"] != PARAMS["decoder"]["kernel"])
    held = [leaf.shape for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert (2,) not in held  # no optimizer state for encoder/scale


def test_the_norm_counts_trained_parameters_only():
    _, state = updated(optimizers.adamw(0.1, frozen=("encoder/.*",)), steps=1)
    assert float(optimizers.reported(state)["grad_norm"]) == pytest.approx(2.0)  # sqrt(4 ones)


@pytest.mark.parametrize("patterns,message", [
    (["encodr/.*"], r"frozen pattern 'encodr/\.\*' matches none of the 3 parameters.*such as "
                    "'decoder/kernel': change FROZEN"),
    ([".*"], "match all 3 parameters"),
])
def test_frozen_errors(patterns, message):
    with pytest.raises(UserError, match=message):
        optimizers.adamw(0.1, frozen=patterns).init(PARAMS)


def test_adamw_by_hand():
    # With constant gradients Adam's update is 1, so p <- p - rate * (1 + decay * p).
    params, _ = updated(optimizers.adamw(0.1, weight_decay=0.5, clip_norm=None), steps=1)
    np.testing.assert_allclose(params["decoder"]["kernel"][0, 0], 0.3 - 0.1 * (1 + 0.5 * 0.3),
                               rtol=1e-5)
    np.testing.assert_allclose(params["encoder"]["scale"], 0.9, rtol=1e-5)  # no decay on scales


def test_adafactor_steps_relative_to_the_parameter():
    params, _ = updated(optimizers.adafactor(0.1), steps=1)
    rms = float(jnp.sqrt(jnp.mean(PARAMS["decoder"]["kernel"] ** 2)))
    np.testing.assert_allclose(params["decoder"]["kernel"],
                               PARAMS["decoder"]["kernel"] - 0.1 * rms, rtol=1e-4)


def test_adafactor_factors_large_arrays():
    params = {"kernel": jnp.ones((256, 128))}
    _, state = updated(optimizers.adafactor(0.1), params, steps=1)
    shapes = {leaf.shape for leaf in jax.tree.leaves(state)}
    assert {(256,), (128,)} <= shapes and (256, 128) not in shapes


def test_reported_names():
    _, state = updated(optimizers.adamw(optimizers.schedule(0.1, "linear", total_steps=10)))
    reported = optimizers.reported(state)
    assert float(reported["learning_rate"]) == pytest.approx(0.08)
    assert set(reported) == {"learning_rate", "grad_norm"}
    assert optimizers.reported(optax.sgd(0.1).init(PARAMS)) == {}
