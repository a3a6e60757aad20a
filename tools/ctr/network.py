"""The click model: embeddings of a candidate's and a user's units, and a small MLP (Flax)."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

WIDTH = 16  # of an embedding
HIDDEN = (64, 32)
FIRST_REAL = 2  # labels 0 (padding) and 1 (unknown) match nothing
BATCH = 1024
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
Batch = Mapping[str, jax.Array]


class ClickModel(nn.Module):
    """Logit of a click. One embedding table per feature column, shared by candidate and user."""

    sizes: Sequence[int]  # rows of each table

    @nn.compact
    def __call__(self, batch: Batch) -> jax.Array:
        """candidate int [B, C], units int [B, C, top], weights [B, C, top], dense [B, X] -> [B]."""
        parts = [batch["dense"]]
        for column, size in enumerate(self.sizes):
            table = nn.Embed(size, WIDTH, embedding_init=nn.initializers.normal(0.05),
                             name=f"table_{column}")
            label, units = batch["candidate"][:, column], batch["units"][:, column]
            weights = batch["weights"][:, column] * (units > 0).astype(jnp.float32)
            item_BxE = table(label)
            user_BxE = jnp.einsum("bt,bte->be", weights, table(units))
            same = (units == label[:, None]) & (label[:, None] >= FIRST_REAL)
            match = jnp.sum(weights * same.astype(jnp.float32), axis=-1, keepdims=True)
            parts += [item_BxE, user_BxE, item_BxE * user_BxE, match]
        x = jnp.concatenate(parts, axis=-1)
        for width in HIDDEN:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(1)(x)[:, 0]


class Rows:
    """Examples: candidates of events, with the features of their event's past."""

    def __init__(self, candidate: np.ndarray, event: np.ndarray, click: np.ndarray,
                 units: np.ndarray, weights: np.ndarray, dense: np.ndarray):
        self.candidate, self.event, self.click = candidate, event, click
        self._units, self._weights, self._dense = units, weights, dense

    def __len__(self) -> int:
        return len(self.click)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        event = self.event[rows]
        return {"candidate": self.candidate[rows], "units": self._units[event],
                "weights": self._weights[event], "dense": self._dense[rows],
                "click": self.click[rows]}


def log_loss(logits: np.ndarray, click: np.ndarray) -> float:
    """Mean log-loss in nats."""
    return float(np.mean(np.logaddexp(0.0, logits) - click * logits))


def train(sizes: Sequence[int], training: Rows, validation: Rows, seed: int, epochs: int):
    """Trains until the validation log-loss rises twice; returns the best logit function."""
    model = ClickModel(tuple(sizes))
    random = np.random.default_rng(seed)
    params = model.init(jax.random.key(seed), training.batch(np.arange(2)))["params"]
    optimizer = optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, batch):
        def loss(params):
            logits = model.apply({"params": params}, batch)
            return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, batch["click"]))
        grads = jax.grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats
            updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    apply = jax.jit(lambda params, batch: model.apply({"params": params}, batch))

    def logits(rows: Rows, params=None) -> np.ndarray:
        out = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), BATCH):
            chosen = np.arange(start, min(start + BATCH, len(rows)))
            padded = np.resize(chosen, BATCH)  # one shape, one program
            out[chosen] = jax.device_get(apply(params, rows.batch(padded)))[:len(chosen)]
        return out

    best, best_loss, worse = params, np.inf, 0
    for _ in range(epochs):
        order = random.permutation(len(training))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            params, state = step(params, state, training.batch(order[start:start + BATCH]))
        loss = log_loss(logits(validation, params), validation.click)
        best, best_loss, worse = ((params, loss, 0) if loss < best_loss else
                                  (best, best_loss, worse + 1))
        if worse == 2:
            break
    return lambda rows: logits(rows, best)
