"""RQ-VAE (Lee et al. 2022): residual quantisation inside an autoencoder of the vectors.

Small and honest: a two-layer encoder and decoder, codebooks started by residual k-means of the
encoder's outputs after a warm-up without quantisation, straight-through gradients, codes without
items restarted at random outputs. Dims: B batch, N items, Q queries, D width, Z latent width.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsid_jax.evaluate import quantizers
from gsid_jax.evaluate.quantizers import Quantized


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes and training of an RQ-VAE."""

    hidden: int = 256
    latent: int = 64  # Z
    steps: int = 1500
    warmup: float = 0.2  # share of the steps without quantisation
    batch: int = 512
    learning_rate: float = 1e-3
    commitment: float = 0.25
    restart_every: int = 100


class _Autoencoder(nn.Module):
    hidden: int
    latent: int
    width: int

    def setup(self):
        self.encoder = nn.Sequential([nn.Dense(self.hidden), nn.relu, nn.Dense(self.latent)])
        self.decoder = nn.Sequential([nn.Dense(self.hidden), nn.relu, nn.Dense(self.width)])

    def encode(self, x_BxD):
        return self.encoder(x_BxD)

    def decode(self, z_BxZ):
        return self.decoder(z_BxZ)

    def __call__(self, x_BxD):
        return self.decode(self.encode(x_BxD))


def _quantize(z_BxZ: jax.Array, books: list[jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(codes int32 [B, T], sum of the chosen entries [B, Z], loss of books and commitment [B])."""
    rest, total, chosen = z_BxZ, jnp.zeros_like(z_BxZ), []
    book_loss = commitment = jnp.zeros(z_BxZ.shape[:1])
    for book_KxZ in books:
        distance = jnp.sum(book_KxZ**2, axis=1)[None] - 2 * jax.lax.stop_gradient(rest) @ book_KxZ.T
        code = jnp.argmin(distance, axis=1)
        entry = book_KxZ[code]
        book_loss += jnp.sum((jax.lax.stop_gradient(rest) - entry) ** 2, axis=1)
        commitment += jnp.sum((rest - jax.lax.stop_gradient(entry)) ** 2, axis=1)
        total, rest = total + entry, rest - entry
        chosen.append(code)
    return jnp.stack(chosen, axis=1), total, jnp.stack([book_loss, commitment], axis=1)


def quantize(item_NxD: np.ndarray, query_QxD: np.ndarray, sizes: tuple[int, ...], seed: int = 0,
             settings: Settings = Settings()) -> tuple[Quantized, dict[str, float]]:
    """Trains on the items' vectors; returns the IDs and ``reconstruction_error``, the share of the
    vectors' variance that the codes do not explain (0: all is explained, 1: nothing)."""
    mean_D = item_NxD.mean(axis=0)
    scale = float(np.sqrt(((item_NxD - mean_D) ** 2).mean())) or 1.0
    x_NxD, asked_QxD = (item_NxD - mean_D) / scale, (query_QxD - mean_D) / scale
    draw = np.random.default_rng(seed)
    model = _Autoencoder(settings.hidden, settings.latent, x_NxD.shape[1])
    params = {"net": model.init(jax.random.key(seed), jnp.asarray(x_NxD[:1]))["params"]}
    optimizer = optax.adam(settings.learning_rate)
    state = optimizer.init(params)

    def apply(params, method, value):
        return model.apply({"params": params["net"]}, value, method=method)

    def loss_fn(params, x_BxD):
        z = apply(params, _Autoencoder.encode, x_BxD)
        if "books" not in params:
            return jnp.mean(jnp.sum((x_BxD - apply(params, _Autoencoder.decode, z)) ** 2, axis=1))
        _, total, both = _quantize(z, params["books"])
        out = apply(params, _Autoencoder.decode, z + jax.lax.stop_gradient(total - z))
        return jnp.mean(jnp.sum((x_BxD - out) ** 2, axis=1) + both[:, 0]
                        + settings.commitment * both[:, 1])

    @jax.jit
    def step(params, state, x_BxD):
        updates, state = optimizer.update(jax.grad(loss_fn)(params, x_BxD), state, params)
        return optax.apply_updates(params, updates), state

    encode = jax.jit(lambda params, x: apply(params, _Autoencoder.encode, x))
    first = int(settings.warmup * settings.steps)
    for number in range(settings.steps):
        if number == first:
            params = {**params, "books": _start(np.asarray(encode(params, x_NxD)), sizes, seed)}
            state = optimizer.init(params)
        elif number > first and (number - first) % settings.restart_every == 0 and (
                number < 0.8 * settings.steps):
            params["books"] = _restart(np.asarray(encode(params, x_NxD)), params["books"], draw)
        rows = draw.integers(0, len(x_NxD), settings.batch)
        params, state = step(params, state, x_NxD[rows])

    read = jax.jit(lambda params, x: _quantize(apply(params, _Autoencoder.encode, x),
                                               params["books"])[:2])
    item_codes, total = read(params, x_NxD)
    query_codes, _ = read(params, asked_QxD)
    rebuilt = apply(params, _Autoencoder.decode, total)
    error = float(jnp.mean((x_NxD - rebuilt) ** 2)) / float((x_NxD ** 2).mean())
    health = {"reconstruction_error": error}
    return Quantized(np.asarray(item_codes, np.int32), np.asarray(query_codes, np.int32),
                     tuple(map(float, sizes))), health


def _start(z_NxZ: np.ndarray, sizes: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """Codebooks by residual k-means of the encoder's outputs."""
    books = []
    for level, size in enumerate(sizes):
        book = quantizers.kmeans(z_NxZ, size, seed + level)
        books.append(book)
        z_NxZ = z_NxZ - book[quantizers.nearest(z_NxZ, book)]
    return books


def _restart(z_NxZ: np.ndarray, books: list, draw: np.random.Generator) -> list[np.ndarray]:
    """Moves entries that no item uses to the rest of random items."""
    moved = []
    for book in map(np.array, books):
        used = np.bincount(quantizers.nearest(z_NxZ, book), minlength=len(book))
        dead = np.flatnonzero(used == 0)
        book[dead] = z_NxZ[draw.integers(0, len(z_NxZ), len(dead))]
        z_NxZ = z_NxZ - book[quantizers.nearest(z_NxZ, book)]
        moved.append(book)
    return moved
