"""Optimizers: optax chains of clipping, Adafactor or AdamW, weight decay, schedule and freezing.

The rate and the gradient norm of the last update are kept in the optimizer's state, where the
trainer reads them for its report.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsid_jax.errors import UserError
from gsid_jax.partitioning import leaf_name

PyTree = Any
Schedule = Callable[[jax.Array], jax.Array]
DECAYS = ("constant", "linear", "cosine", "rsqrt")
NO_DECAY = (".*scale", ".*bias", ".*rel_embedding", ".*bos")  # norms and the like


def schedule(learning_rate: float = 1e-3, decay: str = "linear", warmup_steps: int = 0,
             total_steps: int | None = None) -> Schedule:
    """Learning rate of update 0, 1, ...: linear warm-up to `learning_rate`, then decay.

    `linear` and `cosine` reach zero at `total_steps` (TRAIN_STEPS), `rsqrt` falls with the square
    root of the step after the warm-up, `constant` stays. int32 [] -> float32 [].

    Raises UserError for an unknown decay, or a warm-up that leaves no steps to decay over.
    """
    if decay not in DECAYS:
        raise UserError(f"optimizers.schedule.decay is {decay!r}; expected one of {DECAYS}")
    if learning_rate < 0 or warmup_steps < 0:
        raise UserError(f"optimizers.schedule: learning_rate is {learning_rate} and warmup_steps "
                        f"is {warmup_steps}; expected neither below 0")
    if decay in ("linear", "cosine") and (total_steps is None or total_steps <= warmup_steps):
        raise UserError(
            f"optimizers.schedule.total_steps is {total_steps} with warmup_steps={warmup_steps}; "
            f"decay={decay!r} needs total_steps (TRAIN_STEPS) above warmup_steps: lower "
            "WARMUP_STEPS or raise TRAIN_STEPS")

    def rate(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step).astype(jnp.float32)
        warm = jnp.minimum(1.0, (step + 1.0) / max(warmup_steps, 1))
        if decay == "rsqrt":
            start = float(max(warmup_steps, 1))
            factor = jnp.sqrt(start / jnp.maximum(step, start))
        elif decay == "constant":
            factor = jnp.float32(1.0)
        else:
            done = jnp.clip((step - warmup_steps) / (total_steps - warmup_steps), 0.0, 1.0)
            factor = 1.0 - done if decay == "linear" else 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        return learning_rate * warm * factor

    return rate


def adamw(learning_rate: float | Schedule = 1e-3, b1: float = 0.9, b2: float = 0.999,
          eps: float = 1e-8, weight_decay: float = 0.01, clip_norm: float | None = 1.0,
          frozen: Sequence[str] = (), no_decay: Sequence[str] = NO_DECAY,
          ) -> optax.GradientTransformation:
    """AdamW with decoupled weight decay; see `_chain` for the shared arguments."""
    return _chain([optax.scale_by_adam(b1, b2, eps)], learning_rate, weight_decay, clip_norm,
                  frozen, no_decay)


def adafactor(learning_rate: float | Schedule = 1e-2, decay_rate: float = 0.8,
              clip_threshold: float | None = 1.0, multiply_by_parameter_scale: bool = True,
              min_dim_size_to_factor: int = 128, weight_decay: float = 0.0,
              clip_norm: float | None = None, frozen: Sequence[str] = (),
              no_decay: Sequence[str] = NO_DECAY) -> optax.GradientTransformation:
    """Adafactor without momentum, as T5 uses it; see `_chain` for the shared arguments.

    `clip_threshold` bounds the root-mean-square of each array's update. With
    `multiply_by_parameter_scale` the learning rate is relative to each array's size.
    """
    scale = [optax.scale_by_factored_rms(decay_rate=decay_rate,
                                         min_dim_size_to_factor=min_dim_size_to_factor)]
    if clip_threshold is not None:
        scale.append(optax.clip_by_block_rms(clip_threshold))
    if multiply_by_parameter_scale:
        scale.append(optax.scale_by_param_block_rms())
    return _chain(scale, learning_rate, weight_decay, clip_norm, frozen, no_decay)


def _chain(scale, learning_rate, weight_decay, clip_norm, frozen, no_decay):
    """Clipping, then `scale`, weight decay and the rate, on the parameters that are trained.

    Args:
      learning_rate: a number or a `schedule`.
      weight_decay: per step, times the rate, on parameters whose name is not in `no_decay`.
      clip_norm: largest global norm of the gradients of the trained parameters; None for no limit.
      frozen, no_decay: regular expressions that match whole names, such as 'encoder/.*'.
        Frozen parameters do not change by a bit and have no optimizer state.
    """
    rate = learning_rate if callable(learning_rate) else schedule(learning_rate, "constant")
    steps = [clip_by_global_norm(clip_norm), *scale]
    if weight_decay:
        steps.append(optax.add_decayed_weights(
            weight_decay, lambda params: jax.tree_util.tree_map_with_path(
                lambda path, _: not _matches(no_decay, path), params)))
    steps.append(scale_by_learning_rate(rate))
    chain = optax.chain(*steps)
    if frozen:
        chain = optax.partition({"trained": chain, "frozen": no_update()},
                                lambda params: frozen_labels(params, frozen))
    return _with_standard_promotion(chain)


def _matches(patterns: Sequence[str], path: tuple) -> bool:
    name = leaf_name(path)
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def frozen_labels(params: PyTree, frozen: Sequence[str]) -> PyTree:
    """'frozen' or 'trained' for every parameter.

    Raises UserError if a pattern matches no parameter, or if nothing is left to train.
    """
    names = [leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in frozen:
        if not any(re.fullmatch(pattern, name) for name in names):
            raise UserError(
                f"the frozen pattern {pattern!r} matches none of the {len(names)} parameters; "
                f"expected a regular expression for whole names such as {names[0]!r}: change "
                "FROZEN (the optimizer's `frozen`)")
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "frozen" if _matches(frozen, path) else "trained", params)
    if "trained" not in jax.tree.leaves(labels):
        raise UserError(f"the frozen patterns {list(frozen)} match all {len(names)} parameters; "
                        "expected some left to train: change FROZEN (the optimizer's `frozen`)")
    return labels


class ClipState(NamedTuple):
    grad_norm: jax.Array  # float32 [], before clipping


class RateState(NamedTuple):
    count: jax.Array  # int32 [], updates so far
    learning_rate: jax.Array  # float32 [], of the last update


def clip_by_global_norm(limit: float | None) -> optax.GradientTransformation:
    """Scales the gradients down to a global norm of `limit`, and records the norm they had."""

    def update(updates, state, params=None):
        del state, params
        norm = optax.tree.norm(updates).astype(jnp.float32)
        if limit is not None:
            factor = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-16))
            updates = jax.tree.map(lambda g: g * factor.astype(g.dtype), updates)
        return updates, ClipState(norm)

    return optax.GradientTransformation(lambda params: ClipState(jnp.zeros((), jnp.float32)),
                                        update)


def scale_by_learning_rate(rate: Schedule) -> optax.GradientTransformation:
    """Multiplies by minus the scheduled rate, and records the rate."""

    def init(params):
        del params
        return RateState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))

    def update(updates, state, params=None):
        del params
        now = jnp.asarray(rate(state.count), jnp.float32)
        updates = jax.tree.map(lambda u: u * -now.astype(u.dtype), updates)
        return updates, RateState(state.count + 1, now)

    return optax.GradientTransformation(init, update)


def no_update() -> optax.GradientTransformation:
    """Updates that leave every bit: minus zero, because -0.0 + 0.0 would lose its sign."""
    return optax.GradientTransformation(
        lambda params: optax.EmptyState(),
        lambda updates, state, params=None: (
            jax.tree.map(lambda g: jnp.full_like(g, -0.0), updates), state))


def reported(opt_state: PyTree) -> dict[str, jax.Array]:
    """`learning_rate` and `grad_norm` of the last update, where the optimizer records them."""
    found = {name: optax.tree_utils.tree_get(opt_state, name, None)
             for name in ("learning_rate", "grad_norm")}
    return {name: value for name, value in found.items() if value is not None}


def _with_standard_promotion(chain: optax.GradientTransformation) -> optax.GradientTransformation:
    """Lets optax mix its Python floats with integer counts when JAX's strict promotion is on."""

    def update(updates, state, params=None, **extra):
        with jax.numpy_dtype_promotion("standard"):
            return chain.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(chain.init, update)
