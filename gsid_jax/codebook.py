"""The quantizer of one level: lookup, EMA update, centring, start and revival (paper 2.1, 2.2.2).

Everything here lives in the Flax collection "codebook", gets no gradient and is replicated. Sums
over the batch are written globally, so under pjit any number of devices makes the same codebook.
"""

import dataclasses

import flax.linen as nn
from flax.linen import partitioning as nn_partitioning
import jax
import jax.numpy as jnp

from gsid_jax.errors import UserError
from gsid_jax.losses import normalise

LOOKUPS = ("cosine", "dot")
STARTS = ("normal", "batch", "kmeans")


@dataclasses.dataclass(frozen=True)
class CodebookConfig:
    """Options of the codebooks; the defaults are those seen to work (method.md section 6)."""

    lookup: str = "cosine"  # or 'dot', the paper's raw dot product
    temperature: float = 0.1  # tau_code
    ema_decay: float = 0.99  # g of M5
    smoothing: float = 1e-5  # Laplace smoothing of the counts, relative to their sum
    centring: float = 0.3  # alpha of M8; 0 is the paper
    start: str = "kmeans"  # 'normal' (the paper), 'batch' (random item outputs), 'kmeans' of them
    start_samples: int = 1024  # R: latest item outputs kept for the start
    revive_below: float = 0.03  # a code is dead below this share of the mean count; 0: never
    prefix_buckets: int = 1024  # rows of the table behind the conditional perplexity
    seed: int = 0  # of the start and of revivals

    def __post_init__(self):
        if self.lookup not in LOOKUPS:
            raise UserError(f"CodebookConfig.lookup: got {self.lookup!r}, expected one of "
                            f"{LOOKUPS}")
        if self.start not in STARTS:
            raise UserError(f"CodebookConfig.start: got {self.start!r}, expected one of {STARTS}")
        if not self.temperature > 0:
            raise UserError(f"CodebookConfig.temperature: got {self.temperature}, expected > 0")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"CodebookConfig.ema_decay: got {self.ema_decay}, expected [0, 1)")


def one_hot_sums(codes_B: jax.Array, x_BxD: jax.Array, weights_B: jax.Array, size: int):
    """Per code: weight [K] and weighted sum of x [K, D]. Codes outside 0..K-1 count nowhere."""
    hot_BxK = jax.nn.one_hot(codes_B, size, dtype=jnp.float32) * weights_B[:, None]
    return jnp.sum(hot_BxK, axis=0), hot_BxK.T @ x_BxD


def kmeans(x_RxD: jax.Array, weights_R: jax.Array, size: int, key: jax.Array,
           iterations: int = 10) -> jax.Array:
    """Spherical k-means: [R, D] unit rows under weights 0/1 -> [K, D]. iterations=0: a sample.

    Starts from a weighted sample of rows without replacement. An empty cluster keeps its centre.
    """
    gumbel = jax.random.gumbel(key, weights_R.shape)
    picks = jax.lax.top_k(jnp.where(weights_R > 0, gumbel, -1e9), min(size, weights_R.size))[1]
    centres = jnp.take(x_RxD, jnp.resize(picks, (size,)), axis=0)

    def step(_, centres):
        codes_R = jnp.argmax(x_RxD @ normalise(centres).T, axis=-1)
        count_K, sum_KxD = one_hot_sums(codes_R, x_RxD, weights_R, size)
        filled = (count_K > 0)[:, None]
        return jnp.where(filled, sum_KxD / jnp.maximum(count_K, 1.0)[:, None], centres)

    return jax.lax.fori_loop(0, iterations, step, centres)


class Codebook(nn.Module):
    """The codebook of level `level` (1-based) with K = `size` codes of width D = `width`."""

    config: CodebookConfig
    level: int
    size: int
    width: int

    def setup(self):
        c, k, d = self.config, self.size, self.width
        prefix = max(self.level - 1, 1)  # level 1 has no prefix; no checkpoint holds empty arrays

        def variable(name, shape, axes, init=jnp.zeros, dtype=jnp.float32):
            return nn_partitioning.variable_with_axes("codebook", name, init, shape, dtype,
                                                      axes=axes)

        def random_start(shape, dtype):
            key = jax.random.fold_in(jax.random.key(c.seed), self.level)
            return jax.random.normal(key, shape, dtype)

        code, embed = "codebook_code", "codebook_embed"  # names of their own: never sharded
        self.embedding = variable("embedding", (k, d), (code, embed), random_start)  # E_t
        self.count = variable("count", (k,), (code,), jnp.ones)  # n_k
        self.sum = variable("sum", (k, d), (code, embed), random_start)  # m_k
        self.steps = variable("steps", (), (), dtype=jnp.int32)  # updates of this level so far
        self.recent = variable("recent", (c.start_samples, d), ("codebook_row", embed))
        self.recent_prefix = variable("recent_prefix", (c.start_samples, prefix),
                                      ("codebook_row", "codebook_prefix"), dtype=jnp.int32)
        self.recent_total = variable("recent_total", (), (), dtype=jnp.int32)
        self.joint = variable("joint", (c.prefix_buckets if self.level > 1 else 1, k),
                              ("codebook_row", code))
        self.prefix_count = variable("prefix_count", (prefix, k), ("codebook_prefix", code))
        self.prefix_sum = variable("prefix_sum", (prefix, k, d), ("codebook_prefix", code, embed))

    def unit(self, d: jax.Array) -> jax.Array:
        return normalise(d) if self.config.lookup == "cosine" else d

    def prefix_means(self) -> jax.Array:
        """A_t of M8: [C, K, D]."""
        count = self.prefix_count.value[..., None]
        return jnp.where(count > 1e-6, self.prefix_sum.value / jnp.maximum(count, 1e-6), 0.0)

    def centre(self, d: jax.Array, prefix: jax.Array) -> jax.Array:
        """M8: c_t of outputs d [..., D] after codes prefix int [..., C]."""
        x = self.unit(d)
        if self.level == 1 or self.config.centring == 0:
            return x
        means = self.prefix_means()
        for j in range(self.level - 1):
            x = x - self.config.centring * jnp.take(means[j], prefix[..., j], axis=0)
        return self.unit(x)

    def logits(self, d: jax.Array, prefix: jax.Array) -> jax.Array:
        """s_t: [..., D], int [..., C] -> [..., K]; P(z_t | z_<t, x) is their softmax."""
        table = jax.lax.stop_gradient(self.unit(self.embedding.value))
        return self.centre(d, prefix) @ table.T / self.config.temperature

    def update(self, d_BxD: jax.Array, prefix_BxC: jax.Array, codes_B: jax.Array,
               start_at: int) -> None:
        """M5 and what goes with it, once a step, after the losses.

        Args:
          d_BxD: item outputs of the global batch at this level.
          prefix_BxC: their codes at the levels before.
          codes_B: their codes at this level, from the lookup of this step.
          start_at: step at which the codebook is started; before, only M8's means and the
            recent outputs are collected.
        """
        c = self.config
        d_BxD = jax.lax.stop_gradient(d_BxD).astype(jnp.float32)
        ones_B = jnp.ones(codes_B.shape, jnp.float32)
        steps = self.steps.value
        running = steps >= start_at

        self._update_prefix_means(d_BxD, prefix_BxC)
        x_BxD = self.centre(d_BxD, prefix_BxC)
        count_K, sum_KxD = one_hot_sums(codes_B, x_BxD, ones_B, self.size)
        keep = c.ema_decay
        n = keep * self.count.value + (1 - keep) * count_K
        m = keep * self.sum.value + (1 - keep) * sum_KxD
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(c.seed), self.level), steps)
        n, m = self._revive(n, m, x_BxD, key)
        self.count.value = jnp.where(running, n, self.count.value)
        self.sum.value = jnp.where(running, m, self.sum.value)
        total = jnp.sum(n)
        smoothed = (n + c.smoothing * total) / (1 + c.smoothing * self.size)
        embedding = m / jnp.maximum(smoothed, 1e-9)[:, None]
        self.embedding.value = jnp.where(running, embedding, self.embedding.value)

        if c.start != "normal":
            self._collect_recent(d_BxD, prefix_BxC, steps < start_at)
            self._start(steps == max(start_at - 1, 0), codes_B.size, key)
        if c.start == "normal":  # counts of the size that the EMA will settle at
            first = steps == max(start_at - 1, 0)
            level_count = jnp.full((self.size,), codes_B.size / self.size, jnp.float32)
            self.count.value = jnp.where(first, level_count, self.count.value)
            self.sum.value = jnp.where(first, self.embedding.value * level_count[:, None],
                                       self.sum.value)
        bucket_B = prefix_bucket(prefix_BxC, self.joint.value.shape[0])
        joint = jnp.zeros_like(self.joint.value).at[bucket_B, codes_B].add(1.0)
        self.joint.value = jnp.where(running, keep * self.joint.value + (1 - keep) * joint,
                                     self.joint.value)
        self.steps.value = steps + 1

    def _update_prefix_means(self, d_BxD, prefix_BxC):
        keep = self.config.ema_decay
        rest_BxD = self.unit(d_BxD)
        weights_B = jnp.ones(rest_BxD.shape[:1], jnp.float32)
        counts, sums = [], []
        for j in range(self.level - 1):
            count_K, sum_KxD = one_hot_sums(prefix_BxC[:, j], rest_BxD, weights_B, self.size)
            n = keep * self.prefix_count.value[j] + (1 - keep) * count_K
            m = keep * self.prefix_sum.value[j] + (1 - keep) * sum_KxD
            mean_KxD = jnp.where(n[:, None] > 1e-6, m / jnp.maximum(n, 1e-6)[:, None], 0.0)
            rest_BxD = rest_BxD - jnp.take(mean_KxD, prefix_BxC[:, j], axis=0)
            counts.append(n)
            sums.append(m)
        if counts:
            self.prefix_count.value = jnp.stack(counts)
            self.prefix_sum.value = jnp.stack(sums)

    def _revive(self, n, m, x_BxD, key):
        """Sets a dead code on a random item of the batch; n, m (and so e) move together."""
        mean = jnp.sum(n) / self.size
        dead_K = n < self.config.revive_below * mean
        rows = jax.random.choice(key, x_BxD.shape[0], (self.size,), replace=True)
        reborn_n = 0.2 * mean  # enough to live for some steps, too little to outweigh real codes
        n = jnp.where(dead_K, reborn_n, n)
        m = jnp.where(dead_K[:, None], jnp.take(x_BxD, rows, axis=0) * reborn_n, m)
        return n, m

    def _collect_recent(self, d_BxD, prefix_BxC, collecting):
        rows, total = self.recent.value.shape[0], self.recent_total.value
        take = min(rows, d_BxD.shape[0])
        where = (total + jnp.arange(take)) % rows
        recent = self.recent.value.at[where].set(d_BxD[:take])
        prefix = self.recent_prefix.value
        if self.level > 1:
            prefix = prefix.at[where].set(prefix_BxC[:take].astype(jnp.int32))
        # A start without a collecting phase takes what this very step brings.
        collecting = collecting | (total == 0)
        self.recent.value = jnp.where(collecting, recent, self.recent.value)
        self.recent_prefix.value = jnp.where(collecting, prefix, self.recent_prefix.value)
        self.recent_total.value = jnp.where(collecting, total + take, total)

    def _start(self, now, batch, key):
        x_RxD = self.centre(self.recent.value, self.recent_prefix.value)
        weights_R = (jnp.arange(x_RxD.shape[0]) < self.recent_total.value).astype(jnp.float32)
        iterations = 10 if self.config.start == "kmeans" else 0
        embedding = jax.lax.cond(
            now, lambda: kmeans(x_RxD, weights_R, self.size, key, iterations),
            lambda: self.embedding.value)
        count = jnp.full((self.size,), batch / self.size, jnp.float32)
        self.embedding.value = embedding
        self.count.value = jnp.where(now, count, self.count.value)
        self.sum.value = jnp.where(now, embedding * count[:, None], self.sum.value)

    def health(self) -> dict[str, jax.Array]:
        """perplexity, max_share and conditional_perplexity of this level's recent items."""
        return table_health(self.joint.value)


def prefix_bucket(prefix: jax.Array, buckets: int) -> jax.Array:
    """A stable bucket of a code prefix, int [..., C] -> int32 [...]."""
    bucket = jnp.zeros(prefix.shape[:-1], jnp.int32)
    for j in range(prefix.shape[-1]):
        bucket = bucket * 257 + prefix[..., j].astype(jnp.int32)  # wraps: fine for a bucket
    return bucket % buckets


def table_health(joint_HxK: jax.Array) -> dict[str, jax.Array]:
    """Health of the codes from weights of (prefix, code): scalars float32.

    perplexity exp H(z_t), max_share, conditional_perplexity exp H(z_t | z_<t). An empty table
    (nothing counted yet) reads as perfectly healthy.
    """
    total = jnp.sum(joint_HxK)
    p_HxK = joint_HxK / jnp.maximum(total, 1e-9)

    def entropy(p):
        return -jnp.sum(p * jnp.log(jnp.maximum(p, 1e-12)))

    p_K = jnp.sum(p_HxK, axis=0)
    conditional = entropy(p_HxK) - entropy(jnp.sum(p_HxK, axis=1))
    size = jnp.float32(p_K.size)
    empty = total <= 0
    return {
        "perplexity": jnp.where(empty, size, jnp.exp(entropy(p_K))),
        "max_share": jnp.where(empty, 1.0 / size, jnp.max(p_K)),
        "conditional_perplexity": jnp.where(empty, size, jnp.exp(conditional)),
    }
