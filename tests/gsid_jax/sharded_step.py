"""One GSID step on some mesh, its results on the host; also a program for several processes.

    python -m tests.gsid_jax.sharded_step COORDINATOR PROCESS_ID STATE.pickle OUTPUT.npz
"""

import functools
import pickle
import sys
from typing import Any

import jax
import numpy as np
import optax

from gsid_jax import partitioning
from gsid_jax.checkpoint_files import by_name
from gsid_jax.trainer import Trainer
from tests.gsid_jax import batches

PROCESSES = 2
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def model(**options):
    """A model whose heads and widths four devices divide; SGD at rate 1 shows the gradient."""
    made = batches.gsid_model(2, codebook={"start": "normal"}, **options)
    made.module = batches.network(num_heads=4, head_dim=4)
    made.optimizer_def = optax.sgd(1.0)
    return made


def shapes(batch):
    return {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in batch.items()}


@functools.cache
def fresh_state():
    """The state to start from, on the host: its leaves (a process of its own can be given them)."""
    one = partitioning.Partitioner(devices=jax.devices()[:1])
    return jax.tree.leaves(jax.device_get(
        Trainer(model(), one, shapes(batches.gsid_batch(2))).new_state(0)))


def step(part: partitioning.Partitioner, leaves: list[Any] | None = None,
         **options) -> dict[str, np.ndarray]:
    """{name: array} of one step: gradients, codebook, metrics and the IDs after it."""
    made = model()
    batch = {name: np.asarray(value) for name, value in batches.gsid_batch(2).items()}
    layout = part.data_layout(len(batch["item_ids"]))
    rows = slice(layout.shard_index * layout.host_batch_size,
                 (layout.shard_index + 1) * layout.host_batch_size)
    own = part.shard_batch({name: value[rows] for name, value in batch.items()})
    trainer = Trainer(made, part, shapes(batch), **options)
    before = jax.tree.unflatten(jax.tree.structure(trainer.state_shapes), leaves or fresh_state())
    compiled = trainer.lower_train_step(shapes(batch)).compile(compiler_options=QUICK)

    def finish(state, metrics, items):
        return state.params, state.flax_mutables, metrics, made.predict_batch(
            state.params, {"encoder_input_tokens": items}, flax_mutables=state.flax_mutables)

    with part.context():
        state, metrics = compiled(jax.device_put(before, trainer.state_shardings), own)
        finish = jax.jit(finish, out_shardings=part.replicated).lower(
            state, metrics, own["item_tokens"]).compile(compiler_options=QUICK)
        params, mutables, metrics, ids = jax.device_get(
            finish(state, metrics, own["item_tokens"]))
    gradient = jax.tree.map(lambda a, b: a - b, before.params, params)
    found = {f"gradient/{name}": leaf for name, leaf in by_name(gradient).items()}
    found |= {f"codebook/{name}": leaf for name, leaf in by_name(mutables).items()}
    found |= {f"metric/{name}": np.asarray(mean.total / np.maximum(mean.count, 1e-9))
              for name, mean in metrics.items()}
    return found | {"ids": np.asarray(ids)}


def main(coordinator: str, process: str, state: str, output: str) -> None:
    partitioning.start_distributed(coordinator, PROCESSES, int(process))
    with open(state, "rb") as file:
        leaves = pickle.load(file)
    found = step(partitioning.Partitioner(), leaves)
    if jax.process_index() == 0:
        np.savez(output, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
