"""A linear model and a data source small enough to compute by hand, for tests of the trainer."""

import dataclasses
import os

from flax import linen as nn
from flax.linen import partitioning as nn_partitioning
import jax
import jax.numpy as jnp
import numpy as np

from gsid_jax import optimizers
from gsid_jax.metrics import Mean

WIDTH, OUT = 16, 8


class Linear(nn.Module):
    """y = dropout(x) W + b, with a named table that plays the codebook."""

    dropout_rate: float = 0.0
    out: int = OUT

    @nn.compact
    def __call__(self, x, deterministic=True):
        def param(name, shape, axes):
            return nn_partitioning.param_with_axes(
                name, nn.initializers.normal(0.1), shape, jnp.float32, axes=axes)

        kernel = param("kernel", (WIDTH, self.out), ("embed", "mlp"))
        scale = param("scale", (self.out,), ("mlp",))
        x = nn.Dropout(self.dropout_rate)(x, deterministic=deterministic)
        y = x @ kernel
        return y + jnp.broadcast_to(scale, y.shape)


class ToyModel:
    """Weighted mean squared error; with `mutables`, a running mean of the outputs beside it."""

    def __init__(self, optimizer_def=None, mutables=False, dropout_rate=0.0, out=OUT, level=1):
        self.module = Linear(dropout_rate, out)
        self.optimizer_def = optimizer_def or optimizers.adamw(0.05, clip_norm=None)
        self.mutables = mutables
        self.level = level

    def get_initial_variables(self, rng, input_shapes, input_types=None):
        del input_types
        variables = dict(self.module.init(rng, jnp.zeros(input_shapes["x"])))
        if self.mutables:
            variables["codebook"] = {
                "level_1": {"mean": jnp.zeros((self.module.out,)), "steps": jnp.int32(0),
                            "prefix": jnp.zeros((0, 3))}}
        return variables

    def loss_fn(self, params, batch, dropout_rng, flax_mutables=None):
        rngs = {} if dropout_rng is None else {"dropout": dropout_rng}
        y = self.module.apply({"params": params}, batch["x"], dropout_rng is None, rngs=rngs)
        error = jnp.mean((y - batch["y"]) ** 2, axis=-1)
        metrics = {"loss": Mean.over(error, batch["weights"])}
        loss = metrics["loss"].compute()
        if flax_mutables is None:
            return loss, metrics
        old = flax_mutables["codebook"]["level_1"]
        mean = 0.9 * old["mean"] + 0.1 * jax.lax.stop_gradient(jnp.mean(y, axis=0))
        new = {"level_1": old | {"mean": mean, "steps": old["steps"] + 1}}
        metrics["perplexity"] = Mean.of(jnp.exp(jnp.max(mean)))
        return loss, (metrics, {"codebook": new})

    def eval_fn(self, params, batch, flax_mutables=None):
        if flax_mutables is None:
            return self.loss_fn(params, batch, None)
        loss, (metrics, _) = self.loss_fn(params, batch, None, flax_mutables)
        return loss, metrics


@dataclasses.dataclass
class ToyData:
    """Batches from a seed and a counter; batch `fail_at` (0-based) raises."""

    batch_size: int = 16
    seed: int = 0
    length: int | None = None
    fail_at: int | None = None
    nan_at: int | None = None
    on_batch: object = None  # called with the number of each batch

    def open(self, model, shard_index=0, num_shards=1):
        del model, shard_index, num_shards
        return ToyBatches(self)


class ToyBatches:
    def __init__(self, data):
        self._data, self._next = data, 0

    @property
    def element_spec(self):
        rows = self._data.batch_size
        return {"x": jax.ShapeDtypeStruct((rows, WIDTH), np.float32),
                "y": jax.ShapeDtypeStruct((rows, OUT), np.float32),
                "weights": jax.ShapeDtypeStruct((rows,), np.float32)}

    def __iter__(self):
        return self

    def __next__(self):
        number, data = self._next, self._data
        if number == data.length:
            raise StopIteration
        if number == data.fail_at:
            raise KeyboardInterrupt("killed")
        if data.on_batch:
            data.on_batch(number)
        self._next += 1
        rng = np.random.default_rng([data.seed, number])
        batch = {name: rng.normal(size=spec.shape).astype(np.float32)
                 for name, spec in self.element_spec.items()}
        batch["y"] = batch["x"][:, :OUT] + 0.1 * batch["y"]
        batch["weights"] = rng.integers(1, 4, data.batch_size).astype(np.float32)
        if number == data.nan_at:
            batch["x"][0, 0] = np.nan
        return batch

    def save(self, directory):
        with open(os.path.join(directory, "next"), "w", encoding="utf-8") as file:
            file.write(str(self._next))

    def restore(self, directory):
        with open(os.path.join(directory, "next"), encoding="utf-8") as file:
            self._next = int(file.read())
