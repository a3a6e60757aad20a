"""One train step and one eval step on a mesh, with microbatches, for every model of the contract.

A model has `loss_fn(params, batch, dropout_rng[, flax_mutables])`, `eval_fn`,
`get_initial_variables` and `optimizer_def`. flax_mutables are its collections besides params,
such as the codebooks: no gradient, changed by the loss.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from gsid_jax import cached_gradients, optimizers
from gsid_jax.errors import UserError
from gsid_jax.length_groups import LengthGroups
from gsid_jax.metrics import Mean
from gsid_jax.partitioning import Partitioner, bytes_per_device

PyTree = Any
Metrics = dict[str, Mean]


class NonFiniteError(UserError):
    """The loss or the gradient is NaN or infinite."""


@flax.struct.dataclass
class TrainState:
    """Everything a step changes; also what a checkpoint holds."""

    step: jax.Array  # int32 [], steps done
    params: PyTree
    opt_state: PyTree
    flax_mutables: PyTree  # {} for a model without
    rng: jax.Array  # uint32 [2], key data; step n folds n in


class Trainer:
    """Compiles and runs the steps of one model.

    Args:
      model: see the module's docstring.
      partitioner: where things live.
      input_spec: feature name -> jax.ShapeDtypeStruct of this host's batches.
      num_microbatches: parts of the batch that follow each other in one step to save memory; the
        gradients are averaged. Contrastive candidates and codebook updates are per part:
        microbatches add no negatives, and the codebook moves once per part.
      num_chunks: parts of the batch whose outputs are made one after another, with the loss and
        the gradient of the whole batch (`cached_gradients`): all negatives, less memory, a
        forward pass more.
      length_groups: rows of a batch are sorted by length and encoded in that many groups, each
        padded to its own length only (`length_groups`); 1: one length for all.
    """

    def __init__(self, model: Any, partitioner: Partitioner,
                 input_spec: Mapping[str, jax.ShapeDtypeStruct],
                 num_microbatches: int | None = None, num_chunks: int | None = None,
                 length_groups: int | None = None):
        self.model = model
        self.partitioner = partitioner
        self.num_microbatches = num_microbatches or 1
        self.num_chunks = num_chunks or 1
        self.length_groups = length_groups or 1
        self._shapes = {name: tuple(spec.shape) for name, spec in input_spec.items()}
        self._types = {name: spec.dtype for name, spec in input_spec.items()}
        if model.optimizer_def is None:
            raise UserError("the model has no optimizer (optimizer_def is None); expected one to "
                            "train with: bind OPTIMIZER = @optimizers.adafactor()")
        if self.num_chunks > 1:
            cached_gradients.check_model(model)
        if self.length_groups > 1:
            LengthGroups.check_model(model)
        several = {f"trainer.Trainer.{name}": getattr(self, name)
                   for name in ("num_microbatches", "num_chunks", "length_groups")
                   if getattr(self, name) > 1}
        if len(several) > 1:
            raise UserError(f"{' and '.join(f'{n} is {v}' for n, v in several.items())}; expected "
                            "at most one of them above 1, as each splits the batch in its own "
                            "way: set the others to 1")
        self._groups = LengthGroups(
            self.length_groups, partitioner.mesh.shape["data"]) if self.length_groups > 1 else None

    @functools.cached_property
    def _variable_shapes(self) -> PyTree:
        return jax.eval_shape(self._initial_variables, jax.random.key(0))

    def _initial_variables(self, rng: jax.Array) -> PyTree:
        return dict(self.model.get_initial_variables(rng, self._shapes, self._types))

    @functools.cached_property
    def state_shapes(self) -> TrainState:
        """The state's shapes and dtypes."""
        return jax.eval_shape(self._new_state, jax.random.key(0))

    @functools.cached_property
    def state_shardings(self) -> TrainState:
        """The state's NamedShardings."""
        part, axes, shapes = self.partitioner, self._variable_shapes, self.state_shapes
        params = part.shardings(shapes.params, axes.get("params_axes"))
        return TrainState(
            step=part.replicated,
            params=params,
            opt_state=part.opt_state_shardings(shapes.opt_state, shapes.params, params),
            flax_mutables={name: part.shardings(value, axes.get(f"{name}_axes"))
                           for name, value in shapes.flax_mutables.items()},
            rng=part.replicated)

    def _new_state(self, rng: jax.Array) -> TrainState:
        init_rng, train_rng = jax.random.split(rng)
        variables = self._initial_variables(init_rng)
        params = variables["params"]
        mutables = {name: value for name, value in variables.items()
                    if name != "params" and not name.endswith("_axes")}
        return TrainState(jnp.zeros((), jnp.int32), params, self.model.optimizer_def.init(params),
                          mutables, jax.random.key_data(train_rng))

    def new_state(self, seed: int) -> TrainState:
        """A fresh state, the same on any number of devices."""
        with self.partitioner.context():
            return jax.jit(self._new_state, out_shardings=self.state_shardings)(
                jax.random.key(seed))

    @functools.cached_property
    def _train(self):
        return jax.jit(
            functools.partial(_train_step, self.model, self._gradients),
            in_shardings=(self.state_shardings, self.partitioner.batch_sharding),
            out_shardings=(self.state_shardings, self.partitioner.replicated),
            donate_argnums=(0,))

    def _gradients(self, state, batch, rng):
        """(gradients, metrics with a loss, new mutables), the batch split as configured."""
        grad_fn, sharding = _grad_fn(self.model), self.partitioner.microbatch_sharding
        if self.num_chunks > 1:
            return cached_gradients.gradients(self.model, self.num_chunks, sharding, state.params,
                                              batch, rng, state.flax_mutables)
        if self.num_microbatches > 1:
            return _accumulate(grad_fn, self.num_microbatches, sharding, state, batch, rng)
        return grad_fn(state.params, batch, rng, state.flax_mutables)

    @functools.cached_property
    def _eval(self):
        return jax.jit(functools.partial(_eval_step, self.model),
                       in_shardings=(self.state_shardings, self.partitioner.batch_sharding),
                       out_shardings=self.partitioner.replicated)

    def train_step(self, state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Metrics]:
        """Dispatches one step without waiting for it; `state` is used up (its memory is reused).

        `batch` is this host's part, numpy [B / hosts, ...].
        """
        if self._groups:
            batch = self._groups.arrange(batch)
        with self.partitioner.context():
            return self._train(state, self.partitioner.shard_batch(batch))

    def lower_train_step(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> jax.stages.Lowered:
        """The program of `train_step` for a global batch of these shapes, not yet compiled."""
        state, step = self.state_shapes, self._train  # before the mesh, which may not be real
        with self.partitioner.context():
            return step.lower(state, dict(batch))

    def eval_step(self, state: TrainState, batch: Mapping[str, Any]) -> Metrics:
        """Metrics of one batch, without dropout; nothing changes."""
        with self.partitioner.context():
            return self._eval(state, self.partitioner.shard_batch(batch))

    def describe(self) -> list[str]:
        """Lines on the number of parameters and the memory of the state."""
        shapes, shardings = self.state_shapes, self.state_shardings
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes.params))
        sizes = {name: bytes_per_device(getattr(shapes, field), getattr(shardings, field))
                 for name, field in (("parameters", "params"), ("gradients", "params"),
                                     ("optimizer", "opt_state"), ("codebooks", "flax_mutables"))}
        parts = ", ".join(f"{name} {size / 2**20:,.1f}" for name, size in sizes.items())
        return [f"parameters: {count:,}",
                f"memory of the state: {sum(sizes.values()) / 2**20:,.1f} MiB a device ({parts}), "
                "activations not counted"]


def use_compilation_cache(directory: str) -> None:
    """Keeps compiled programs in `directory`, so that the next start need not compile them."""
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _train_step(model, gradients, state, batch):
    rng = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
    grads, metrics, mutables = gradients(state, batch, rng)
    updates, opt_state = model.optimizer_def.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = metrics | {name: Mean.of(value)
                         for name, value in optimizers.reported(opt_state).items()}
    return TrainState(state.step + 1, params, opt_state, mutables, state.rng), metrics


def _grad_fn(model):
    """(params, batch, rng, mutables) -> (grads, metrics with a loss, new mutables)."""

    def loss_fn(params, batch, rng, mutables):
        if mutables:
            loss, (metrics, mutables) = model.loss_fn(params, batch, rng, mutables)
        else:
            loss, metrics = model.loss_fn(params, batch, rng)
        return loss, ({"loss": Mean.of(loss)} | dict(metrics), dict(mutables))

    def grad_fn(params, batch, rng, mutables):
        grads, (metrics, mutables) = jax.grad(loss_fn, has_aux=True)(params, batch, rng, mutables)
        return grads, metrics, mutables

    return grad_fn


def _accumulate(grad_fn, count, sharding, state, batch, rng):
    """Gradients of `count` consecutive parts of the batch, averaged as their losses are.

    A part weighs what its loss was averaged over (tokens in pre-training), so that unequal parts
    give the gradient of the whole batch.
    """

    def body(carry, part):
        total, weight, mutables = carry
        index, microbatch = part
        grads, metrics, mutables = grad_fn(state.params, microbatch,
                                           jax.random.fold_in(rng, index), mutables)
        own = metrics["loss"].count
        total = jax.tree.map(lambda t, g: t + own * g.astype(jnp.float32), total, grads)
        return (total, weight + own, mutables), metrics

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), state.params)
    start = (zeros, jnp.zeros((), jnp.float32), state.flax_mutables)
    (total, weight, mutables), metrics = jax.lax.scan(
        body, start, (jnp.arange(count), cached_gradients.split(dict(batch), count, sharding)))
    grads = jax.tree.map(lambda t, p: (t / jnp.maximum(weight, 1e-9)).astype(p.dtype), total,
                         state.params)
    metrics = {name: metric.reduce() for name, metric in metrics.items()}
    return grads, metrics, mutables


def _eval_step(model, state, batch):
    if state.flax_mutables:
        loss, metrics = model.eval_fn(state.params, batch, state.flax_mutables)
    else:
        loss, metrics = model.eval_fn(state.params, batch)
    return {"loss": Mean.of(loss)} | dict(metrics)


def check_finite(step: int, metrics: Mapping[str, tuple[float, float]],
                 last_checkpoint: int | None) -> None:
    """Raises NonFiniteError if the loss or the gradient norm of `step` is NaN or infinite.

    `metrics` are totals and counts on the host.
    """
    for name in ("loss", "grad_norm"):
        if name in metrics and not math.isfinite(metrics[name][0]):
            rate = metrics.get("learning_rate", (float("nan"), 1.0))[0]
            kept = (f"the checkpoint of step {last_checkpoint} is kept" if last_checkpoint
                    else "there is no checkpoint yet")
            raise NonFiniteError(
                f"training stopped: {name} is {metrics[name][0]} at step {step} (learning rate "
                f"{rate:.3g}); expected a finite number. {kept[0].upper()}{kept[1:]}. Lower "
                "LEARNING_RATE, lengthen WARMUP_STEPS, set the optimizer's clip_norm to 1.0, or "
                "compute in float32 (network.T5Config.dtype)")
