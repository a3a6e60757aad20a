"""T5 1.1 encoder-decoder with a learned table of code embeddings per level (paper 2.1).

One parameter tree serves the whole chain: pre-training reads the decoder through the token
embeddings and the vocabulary head, GSID through `bos` and the code embeddings. Parameter names
and logical axes follow T5X, so native T5X checkpoints of the trunk fit.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
from flax.linen import partitioning as nn_partitioning
import jax
import jax.numpy as jnp

from gsid_jax.errors import UserError

param_with_axes = nn_partitioning.param_with_axes
constrain = nn_partitioning.with_sharding_constraint

REMAT_POLICIES = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
}


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Sizes and options of the network.

    Dims in shapes: B batch, L input length, M target length, C codes in the prefix, T levels,
    K codes a level, D emb_dim, H heads, d head_dim, F mlp_dim, V vocabulary.
    """

    vocab_size: int  # V, the padded vocabulary, extra ids included
    emb_dim: int = 512  # D
    num_heads: int = 6  # H
    head_dim: int = 64  # d
    mlp_dim: int = 1024  # F
    num_encoder_layers: int = 8
    num_decoder_layers: int = 8
    mlp_activations: tuple[str, ...] = ("gelu", "linear")
    dropout_rate: float = 0.1
    dtype: Any = "float32"  # of activations; parameters, softmax and logits stay float32
    logits_via_embedding: bool = False  # tied head
    scale_logits: bool | None = None  # by D^-1/2; None: where the head is tied, as T5 does
    relative_buckets: int = 32
    relative_max_distance: int = 128
    num_levels: int = 4  # T
    codebook_size: int = 128  # K
    code_embedding_scale: float = 0.05  # small: less prefix leak (method.md section 6.2)
    pooled_output: float = 0.0  # weight of the encoder states' mean in every d_t (docs/method.md)
    scan_layers: bool = False
    remat_policy: str = "none"

    def __post_init__(self):
        for name in ("vocab_size", "emb_dim", "num_heads", "head_dim", "mlp_dim",
                     "num_encoder_layers", "num_decoder_layers", "num_levels", "codebook_size"):
            if getattr(self, name) < 1:
                raise UserError(f"T5Config.{name}: got {getattr(self, name)}, expected at least 1")
        if self.remat_policy not in REMAT_POLICIES:
            raise UserError(f"T5Config.remat_policy: got {self.remat_policy!r}, expected one of "
                            f"{sorted(REMAT_POLICIES)}")

    @property
    def scaled_logits(self) -> bool:
        """Whether the decoder's output is multiplied by D^-1/2 before the vocabulary head."""
        return self.logits_via_embedding if self.scale_logits is None else self.scale_logits


class LayerNorm(nn.Module):
    """Root-mean-square norm without bias, computed in float32."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        scale = param_with_axes("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32,
                                axes=("embed",))
        x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return (x * jnp.broadcast_to(scale, x.shape)).astype(self.dtype)


class Dense(nn.Module):
    """Linear map of the last axis, no bias; `axes` are the kernel's logical names."""

    features: int
    axes: tuple[str, str]
    dtype: Any
    kernel_init: Any = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = param_with_axes("kernel", self.kernel_init, (x.shape[-1], self.features),
                                 jnp.float32, axes=self.axes)
        return x @ kernel.astype(self.dtype)


class Embed(nn.Module):
    """Embedding table [rows, D]."""

    rows: int
    features: int
    dtype: Any
    scale: float = 1.0
    axes: tuple[str, str] = ("vocab", "embed")

    def setup(self):
        self.embedding = param_with_axes(
            "embedding", nn.initializers.normal(stddev=self.scale), (self.rows, self.features),
            jnp.float32, axes=self.axes)

    def __call__(self, ids: jax.Array) -> jax.Array:
        return jnp.take(self.embedding, ids, axis=0).astype(self.dtype)

    def attend(self, x: jax.Array) -> jax.Array:
        return jnp.dot(x, self.embedding.astype(x.dtype).T)


def relative_buckets(query_len: int, key_len: int, bidirectional: bool, buckets: int,
                     max_distance: int) -> jax.Array:
    """T5's relative position buckets, int32 [query_len, key_len]."""
    distance = jnp.arange(key_len)[None, :] - jnp.arange(query_len)[:, None]
    offset = jnp.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = jnp.where(distance > 0, buckets, 0)
        distance = jnp.abs(distance)
    else:
        distance = jnp.maximum(-distance, 0)
    exact = buckets // 2
    far = exact + (
        jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact)
        / jnp.log(max_distance / exact) * (buckets - exact)).astype(jnp.int32)
    return (offset + jnp.where(distance < exact, distance, jnp.minimum(far, buckets - 1))
            ).astype(jnp.int32)


class RelativePositionBias(nn.Module):
    """Attention bias by relative position, shared by the layers of one stack: [1, H, q, k]."""

    config: T5Config
    bidirectional: bool

    @nn.compact
    def __call__(self, length: int) -> jax.Array:
        c = self.config
        table_HxN = param_with_axes(
            "rel_embedding", nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
            (c.num_heads, c.relative_buckets), jnp.float32, axes=("heads", "relpos_buckets"))
        buckets = relative_buckets(length, length, self.bidirectional, c.relative_buckets,
                                   c.relative_max_distance)
        return jnp.take(table_HxN, buckets, axis=1)[None]


def attend(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array) -> jax.Array:
    """Attention without scaling: q [B, q, H, d], k and v [B, k, H, d] -> [B, q, H, d].

    bias: float32 [B or 1, H or 1, q or 1, k]. The softmax is computed in float32.
    """
    logits_BxHxqxk = jnp.einsum("bqhd,bkhd->bhqk", q, k).astype(jnp.float32)
    logits_BxHxqxk = logits_BxHxqxk + jnp.broadcast_to(bias, logits_BxHxqxk.shape)
    weights = jax.nn.softmax(logits_BxHxqxk, axis=-1).astype(q.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


class Attention(nn.Module):
    """Multi-head attention without scaling (T5 folds it into the initialiser)."""

    config: T5Config

    @nn.compact
    def __call__(self, x: jax.Array, kv: jax.Array, bias: jax.Array) -> jax.Array:
        """x [B, q, D], kv [B, k, D], bias [B or 1, H or 1, q or 1, k] -> [B, q, D]."""
        c = self.config
        joined = c.num_heads * c.head_dim

        def heads(name, y, scale):
            init = nn.initializers.variance_scaling(scale, "fan_in", "normal")
            y = Dense(joined, ("embed", "joined_kv"), c.dtype, init, name=name)(y)
            y = y.reshape(*y.shape[:-1], c.num_heads, c.head_dim)
            return constrain(y, ("batch", "length", "heads", "kv"))

        out = attend(heads("query", x, 1.0 / c.head_dim), heads("key", kv, 1.0),
                     heads("value", kv, 1.0), bias)
        return Dense(c.emb_dim, ("joined_kv", "embed"), c.dtype, name="out")(
            out.reshape(*x.shape[:-1], joined))


class Mlp(nn.Module):
    """Feed-forward block; two activations make it gated (T5 1.1), one plain (T5 1.0)."""

    config: T5Config

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        c = self.config
        gates = []
        for i, name in enumerate(c.mlp_activations):
            y = Dense(c.mlp_dim, ("embed", "mlp"), c.dtype,
                      name="wi" if len(c.mlp_activations) == 1 else f"wi_{i}")(x)
            # T5 1.1 and flax both use the tanh approximation of GELU.
            gates.append(y if name == "linear" else getattr(nn, name)(y))
        y = functools.reduce(jnp.multiply, gates)
        y = nn.Dropout(c.dropout_rate, broadcast_dims=(-2,))(y, deterministic=deterministic)
        y = constrain(y, ("batch", "length", "mlp"))
        return Dense(c.emb_dim, ("mlp", "embed"), c.dtype, name="wo")(y)


class Layer(nn.Module):
    """One layer: self-attention, cross-attention when there are encoder states, MLP."""

    config: T5Config
    names: tuple[str, str]  # of the self-attention and of its norm, as T5X calls them
    deterministic: bool  # a field, so that remat and scan see it as static

    @nn.compact
    def __call__(self, x, bias, encoded, encoded_bias):
        c, deterministic = self.config, self.deterministic

        def residual(x, y):
            y = nn.Dropout(c.dropout_rate, broadcast_dims=(-2,))(y, deterministic=deterministic)
            return constrain(x + y, ("batch", "length", "embed"))

        y = LayerNorm(c.dtype, name=self.names[1])(x)
        x = residual(x, Attention(c, name=self.names[0])(y, y, bias))
        if encoded is not None:
            y = LayerNorm(c.dtype, name="pre_cross_attention_layer_norm")(x)
            x = residual(x, Attention(c, name="encoder_decoder_attention")(y, encoded,
                                                                          encoded_bias))
        y = LayerNorm(c.dtype, name="pre_mlp_layer_norm")(x)
        return residual(x, Mlp(c, name="mlp")(y, deterministic)), None


class Stack(nn.Module):
    """Layers with one relative position bias, a final norm and dropout."""

    config: T5Config
    num_layers: int
    is_decoder: bool

    @nn.compact
    def __call__(self, x, mask_BxL, encoded, encoded_bias, deterministic):
        c = self.config
        names = (("self_attention", "pre_self_attention_layer_norm") if self.is_decoder
                 else ("attention", "pre_attention_layer_norm"))
        bias = RelativePositionBias(c, not self.is_decoder, name="relpos_bias")(x.shape[1])
        if self.is_decoder:
            causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))[None, None]
            bias = jnp.where(jnp.broadcast_to(causal, bias.shape), bias, -1e9)
        else:
            padding = mask_bias(mask_BxL)
            shape = (padding.shape[0], *bias.shape[1:])
            bias = jnp.broadcast_to(bias, shape) + jnp.broadcast_to(padding, shape)
        dropout = nn.Dropout(c.dropout_rate, broadcast_dims=(-2,))
        x = dropout(x, deterministic=deterministic)
        layer = Layer
        if c.remat_policy != "none":
            layer = nn_partitioning.remat(Layer, policy=REMAT_POLICIES[c.remat_policy],
                                          prevent_cse=not c.scan_layers)
        if c.scan_layers:
            scanned = nn_partitioning.scan_with_axes(
                layer, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True},
                in_axes=(nn.broadcast,) * 3, length=self.num_layers, axis_name="layers")
            x, _ = scanned(c, names, deterministic, name="layers")(x, bias, encoded, encoded_bias)
        else:
            for i in range(self.num_layers):
                x, _ = layer(c, names, deterministic, name=f"layers_{i}")(x, bias, encoded,
                                                                          encoded_bias)
        x = LayerNorm(c.dtype, name="decoder_norm" if self.is_decoder else "encoder_norm")(x)
        return nn.Dropout(c.dropout_rate, broadcast_dims=(-2,))(x, deterministic=deterministic)


def mask_bias(mask_BxL: jax.Array) -> jax.Array:
    """Additive attention bias [B, 1, 1, L]: 0 where the mask is true, -1e9 where it is not."""
    return jnp.where(mask_BxL, 0.0, -1e9).astype(jnp.float32)[:, None, None, :]


def mean_pool(x_BxLxD: jax.Array, mask_BxL: jax.Array) -> jax.Array:
    """Mean over the positions where the mask holds, float32 [B, D]; 0 where it holds nowhere."""
    mask_BxLx1 = mask_BxL.astype(jnp.float32)[..., None]
    total_BxD = jnp.sum(x_BxLxD.astype(jnp.float32) * mask_BxLx1, axis=1)
    return total_BxD / jnp.maximum(jnp.sum(mask_BxLx1, axis=1), 1)


def pooled_part(config: T5Config, encoded_BxLxD: jax.Array, mask_BxL: jax.Array
                ) -> jax.Array | None:
    """What every d_t gets from the encoder past the decoder, float32 [B, 1, D]; None: nothing."""
    if not config.pooled_output:
        return None
    return config.pooled_output * mean_pool(encoded_BxLxD, mask_BxL)[:, None]


class GSIDNetwork(nn.Module):
    """The encoder-decoder of GSID and of its pre-training."""

    config: T5Config

    def setup(self):
        c = self.config
        self.token_embedder = Embed(c.vocab_size, c.emb_dim, c.dtype)
        self.encoder = Stack(c, c.num_encoder_layers, is_decoder=False)
        self.decoder = Stack(c, c.num_decoder_layers, is_decoder=True)
        self.bos = param_with_axes("bos", nn.initializers.normal(stddev=1.0), (c.emb_dim,),
                                   jnp.float32, axes=("embed",))
        self.code_embedders = [
            Embed(c.codebook_size, c.emb_dim, c.dtype, c.code_embedding_scale, ("code", "embed"))
            for _ in range(c.num_levels - 1)]
        if not c.logits_via_embedding:
            self.logits_dense = Dense(c.vocab_size, ("embed", "vocab"), jnp.float32)

    def __call__(self, input_tokens, target_tokens, codes):
        """Touches every parameter, for initialisation."""
        encoded = self.encode(input_tokens)
        mask = input_tokens > 0
        return self.token_logits(encoded, mask, target_tokens), self.decode_codes(
            encoded, mask, codes)

    def encode(self, tokens_BxL: jax.Array, deterministic: bool = True) -> jax.Array:
        """int32 [B, L], 0 is padding -> encoder states [B, L, D]."""
        x = self.token_embedder(tokens_BxL)
        return self.encoder(x, tokens_BxL > 0, None, None, deterministic)

    def _decode(self, y_BxMxD, encoded_BxLxD, mask_BxL, deterministic):
        bos = jnp.broadcast_to(self.bos.astype(y_BxMxD.dtype), (y_BxMxD.shape[0], 1,
                                                                self.config.emb_dim))
        y = jnp.concatenate([bos, y_BxMxD], axis=1)
        return self.decoder(y, None, encoded_BxLxD, mask_bias(mask_BxL), deterministic)

    def decode_codes(self, encoded_BxLxD: jax.Array, mask_BxL: jax.Array, codes_BxC: jax.Array,
                     deterministic: bool = True) -> jax.Array:
        """d_1..d_{C+1} given the prefix z_1..z_C: int32 [B, C] -> float32 [B, C + 1, D]."""
        shape = (codes_BxC.shape[0], 0, self.config.emb_dim)
        columns = [jnp.zeros(shape, self.config.dtype)]
        columns += [self.code_embedders[i](codes_BxC[:, i:i + 1])
                    for i in range(codes_BxC.shape[1])]
        y = jnp.concatenate(columns, axis=1)
        d = self._decode(y, encoded_BxLxD, mask_BxL, deterministic).astype(jnp.float32)
        pooled = pooled_part(self.config, encoded_BxLxD, mask_BxL)
        return d if pooled is None else d + pooled

    def token_logits(self, encoded_BxLxD: jax.Array, mask_BxL: jax.Array,
                     input_tokens_BxM: jax.Array, deterministic: bool = True) -> jax.Array:
        """Logits of pre-training, float32 [B, M, V].

        `input_tokens` are the targets shifted right. Position 0 reads the learned BOS, the same
        as in `decode_codes`, so that pre-training trains it.
        """
        y = self.token_embedder(input_tokens_BxM[:, 1:])
        y = self._decode(y, encoded_BxLxD, mask_BxL, deterministic).astype(jnp.float32)
        if self.config.scaled_logits:
            y = y / jnp.sqrt(jnp.float32(self.config.emb_dim))
        if self.config.logits_via_embedding:
            return self.token_embedder.attend(y)
        return self.logits_dense(y)
