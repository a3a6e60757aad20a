"""One GSID step on some mesh, its results on the host; also a program for several processes.

    python -m tests.gsid_jax.sharded_step COORDINATOR PROCESS_ID OUTPUT.npz
"""

import sys

import jax
import numpy as np
import optax

from gsid_jax import partitioning
from gsid_jax.checkpoint_files import by_name
from gsid_jax.trainer import Trainer
from tests.gsid_jax import batches

PROCESSES = 2


def model(level=2, **changes):
    """A model whose heads and widths four devices divide; SGD at rate 1 shows the gradient."""
    made = batches.gsid_model(level)
    made.module = batches.network(num_heads=4, head_dim=4, **changes)
    made.optimizer_def = optax.sgd(1.0)
    return made


def step(part: partitioning.Partitioner, made=None, batch=None, **options) -> dict[str, np.ndarray]:
    """{name: array} of one step: gradients, codebook, metrics and the IDs after it."""
    made, batch = made or model(), batch or batches.gsid_batch(2)
    batch = {name: np.asarray(value) for name, value in batch.items()}
    layout = part.data_layout(len(batch["item_ids"]))
    rows = slice(layout.shard_index * layout.host_batch_size,
                 (layout.shard_index + 1) * layout.host_batch_size)
    own = {name: value[rows] for name, value in batch.items()}
    trainer = Trainer(made, part, {name: jax.ShapeDtypeStruct(value.shape, value.dtype)
                                   for name, value in own.items()}, **options)
    state = trainer.new_state(0)
    gather = jax.jit(lambda tree: tree, out_shardings=part.replicated)
    before = jax.device_get(gather(state.params))
    state, metrics = trainer.train_step(state, own)
    params, mutables = jax.device_get(gather((state.params, state.flax_mutables)))
    gradient = jax.tree.map(lambda a, b: a - b, before, params)

    def predict(state, batch):
        return made.predict_batch(state.params, {"encoder_input_tokens": batch["item_tokens"]},
                                  flax_mutables=state.flax_mutables)

    with part.context():
        ids = jax.jit(predict, out_shardings=part.replicated)(
            state, part.shard_batch({"item_tokens": own["item_tokens"]}))
    found = {f"gradient/{name}": leaf for name, leaf in by_name(gradient).items()}
    found |= {f"codebook/{name}": leaf for name, leaf in by_name(mutables).items()}
    found |= {f"metric/{name}": np.asarray(mean.compute())
              for name, mean in jax.device_get(metrics).items()}
    return found | {"ids": np.asarray(jax.device_get(ids))}


def main(coordinator: str, process: str, output: str) -> None:
    partitioning.start_distributed(coordinator, PROCESSES, int(process))
    found = step(partitioning.Partitioner())
    if jax.process_index() == 0:
        np.savez(output, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
