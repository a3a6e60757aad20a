"""The exact gradient of a large batch in the memory of a small one (GradCache).

A contrastive loss needs the outputs of the whole batch at once, but its gradient reaches the
parameters through those outputs only. So: outputs of all parts without keeping activations; the
loss and its gradient with respect to the outputs, over the whole batch; then each part once more,
pulling its share of that gradient back to the parameters. Costs one forward pass more. Unlike
microbatches, every query meets every item of the batch, and codebooks move once a step.

L. Gao, Y. Zhang, J. Han, J. Callan: Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup. RepL4NLP 2021.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gsid_jax.errors import UserError
from gsid_jax.metrics import Mean

PyTree = Any


def check_model(model: Any) -> None:
    """Raises UserError if the model's loss is not one of outputs that can be made in parts."""
    if not hasattr(model, "represent"):
        raise UserError(
            f"trainer.Trainer.num_chunks is set for {type(model).__name__}, which has no outputs "
            "that a loss over the whole batch reads; expected GSIDModel or DualEncoderModel: use "
            "trainer.Trainer.num_microbatches (NUM_MICROBATCHES), which is exact for it")


def split(batch: PyTree, count: int, sharding: Any) -> PyTree:
    """[B, ...] -> [count, B / count, ...]: consecutive rows, each part on all devices."""

    def one(x):
        parts = x.reshape(count, x.shape[0] // count, *x.shape[1:])
        return jax.lax.with_sharding_constraint(parts, sharding)

    return jax.tree.map(one, batch)


def gradients(model: Any, count: int, sharding: Any, params: PyTree, batch: Mapping[str, Any],
              rng: jax.Array, mutables: PyTree) -> tuple[PyTree, dict[str, Mean], PyTree]:
    """(gradients, metrics with a loss, new mutables) of the whole batch, made in `count` parts.

    Args:
      model: has `represent(params, batch, rng)` and `loss_of(outputs, batch[, mutables])`.
      sharding: of an array with the parts in dimension 0.
      rng: part n draws its dropout from `rng` with n folded in, both times.
    """
    parts = split(dict(batch), count, sharding)
    numbers = jnp.arange(count)

    def outputs_of(params, number, part):
        return model.represent(params, part, jax.random.fold_in(rng, number))

    outputs = jax.lax.map(lambda args: outputs_of(params, *args), (numbers, parts))
    outputs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

    def loss_fn(outputs):
        if mutables:
            loss, (metrics, changed) = model.loss_of(outputs, batch, mutables)
        else:
            (loss, metrics), changed = model.loss_of(outputs, batch), {}
        return loss, ({"loss": Mean.of(loss)} | dict(metrics), dict(changed))

    gradient, (metrics, mutables) = jax.grad(loss_fn, has_aux=True)(outputs)

    def pull_back(total, part):
        number, rows, own_gradient = part
        _, pull = jax.vjp(lambda p: outputs_of(p, number, rows), params)
        return jax.tree.map(jnp.add, total, pull(own_gradient)[0]), None

    total, _ = jax.lax.scan(pull_back, jax.tree.map(jnp.zeros_like, params),
                            (numbers, parts, split(gradient, count, sharding)))
    return total, metrics, mutables
