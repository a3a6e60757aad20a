"""The decoder of GSIDNetwork one position at a time, for many beams of one query (paper 2.1).

Works on the network's own parameters, layers unrolled or scanned. Keys and values of the encoder
states are computed once a query and shared by its beams, which stand where attention has its query
positions. The self-attention cache holds at most T positions; position j of the cache has as many
rows as there were beams then, and each beam knows its ancestor's row, so that reordering beams
moves integers until the rows are needed.

Dims: B queries, L input length, W beams, H heads, d head width, D width.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gsid_jax.network import (LayerNorm, Mlp, T5Config, attend, mask_bias, pooled_part,
                              relative_buckets)


@dataclasses.dataclass
class DecoderState:
    """What the positions so far left behind.

    cross: a layer's keys and values of the encoder states, [B, L, H, d] each, and cross_bias
    [B, 1, 1, L]. pooled: float32 [B, 1, D], what is added to every d, if anything. past: positions
    -> layers -> keys and values [B, W_j, H, d]. ancestors: positions -> int32 [B, W], the row of
    each present beam in that position.
    """

    cross: Sequence[tuple[jax.Array, jax.Array]]
    cross_bias: jax.Array
    pooled: jax.Array | None
    past: list[list[tuple[jax.Array, jax.Array]]]
    ancestors: list[jax.Array]

    def follow(self, parents_BxW: jax.Array) -> "DecoderState":
        """The state of new beams that continue the beams ``parents_BxW``."""
        ancestors = [jnp.take_along_axis(rows, parents_BxW, axis=1) for rows in self.ancestors]
        return dataclasses.replace(self, ancestors=[*ancestors, parents_BxW])


class IncrementalDecoder:
    """Decoding with the parameters of a GSIDNetwork; every method is pure and traceable."""

    def __init__(self, config: T5Config, params: Mapping[str, Any]):
        self._config = config
        self._params = params
        self._decoder = params["decoder"]
        self._layers = [self._layer(i) for i in range(config.num_decoder_layers)]

    def _layer(self, number: int) -> Mapping[str, Any]:
        if self._config.scan_layers:
            return jax.tree_util.tree_map(lambda stacked: stacked[number], self._decoder["layers"])
        return self._decoder[f"layers_{number}"]

    def start(self, encoded_BxLxD: jax.Array, mask_BxL: jax.Array) -> DecoderState:
        """The state before the first position."""
        cross = [(self._heads(layer["encoder_decoder_attention"], "key", encoded_BxLxD),
                  self._heads(layer["encoder_decoder_attention"], "value", encoded_BxLxD))
                 for layer in self._layers]
        pooled = pooled_part(self._config, encoded_BxLxD, mask_BxL)
        return DecoderState(cross, mask_bias(mask_BxL), pooled, [], [])

    def first_input(self, batch: int) -> jax.Array:
        """The learned BOS, [B, 1, D]."""
        bos = self._params["bos"].astype(self._config.dtype)
        return jnp.broadcast_to(bos, (batch, 1, self._config.emb_dim))

    def code_input(self, level: int, codes_BxW: jax.Array) -> jax.Array:
        """The embedded codes of ``level`` (1-based), [B, W, D]: what the next position reads."""
        table = self._params[f"code_embedders_{level - 1}"]["embedding"]
        return jnp.take(table, codes_BxW, axis=0).astype(self._config.dtype)

    def step(self, x_BxWxD: jax.Array, state: DecoderState) -> tuple[jax.Array, DecoderState]:
        """Decodes one position: inputs [B, W, D] -> (d float32 [B, W, D], state with it)."""
        c, position = self._config, len(state.past)
        bias_Hxk = self._position_bias(position)
        x, new = x_BxWxD, []
        for number, layer in enumerate(self._layers):
            attention = layer["self_attention"]
            y = self._norm(layer["pre_self_attention_layer_norm"], x)
            key, value = self._heads(attention, "key", y), self._heads(attention, "value", y)
            new.append((key, value))
            past = [(_rows(layers[number][0], rows), _rows(layers[number][1], rows))
                    for layers, rows in zip(state.past, state.ancestors)]
            y = self._attend_past(self._heads(attention, "query", y), [*past, (key, value)],
                                  bias_Hxk)
            x = x + self._out(attention, y)

            attention = layer["encoder_decoder_attention"]
            y = self._norm(layer["pre_cross_attention_layer_norm"], x)
            y = attend(self._heads(attention, "query", y), *state.cross[number], state.cross_bias)
            x = x + self._out(attention, y)

            y = self._norm(layer["pre_mlp_layer_norm"], x)
            x = x + Mlp(c).apply({"params": layer["mlp"]}, y, True)
        d = self._norm(self._decoder["decoder_norm"], x).astype(jnp.float32)
        if state.pooled is not None:
            d = d + state.pooled
        return d, dataclasses.replace(state, past=[*state.past, new])

    def _position_bias(self, position: int) -> jax.Array:
        c = self._config
        buckets = relative_buckets(position + 1, position + 1, False, c.relative_buckets,
                                   c.relative_max_distance)[-1]
        return jnp.take(self._decoder["relpos_bias"]["rel_embedding"], buckets, axis=1)

    def _attend_past(self, q_BxWxHxd, past, bias_Hxk):
        """Attention over at most T positions: products and sums, no matrix worth a call."""
        logits = jnp.stack([jnp.sum(q_BxWxHxd * key, axis=-1) for key, _ in past], axis=-1)
        logits_BxWxHxk = logits.astype(jnp.float32)
        logits_BxWxHxk += jnp.broadcast_to(bias_Hxk, logits_BxWxHxk.shape)
        weights = jax.nn.softmax(logits_BxWxHxk, axis=-1).astype(self._config.dtype)
        return sum(weights[..., j, None] * value for j, (_, value) in enumerate(past))

    def _heads(self, attention, name, x):
        c = self._config
        y = x @ attention[name]["kernel"].astype(c.dtype)
        return y.reshape(*x.shape[:-1], c.num_heads, c.head_dim)

    def _out(self, attention, y_BxWxHxd):
        c = self._config
        y = y_BxWxHxd.reshape(*y_BxWxHxd.shape[:2], c.num_heads * c.head_dim)
        return y @ attention["out"]["kernel"].astype(c.dtype)

    def _norm(self, params, x):
        return LayerNorm(self._config.dtype).apply({"params": params}, x)


def _rows(x_BxVxHxd: jax.Array, rows_BxW: jax.Array) -> jax.Array:
    if x_BxVxHxd.shape[1] == 1:  # the first position: one row for all beams
        return x_BxVxHxd
    return jnp.take_along_axis(x_BxVxHxd, rows_BxW[..., None, None], axis=1)
