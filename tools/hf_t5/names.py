"""Names of T5's weights: Hugging Face's against those of `gsid_jax.network`.

Kernels are transposed: Hugging Face stores [out, in], Flax [in, out]; a relative position bias
is [buckets, heads] there and [heads, buckets] here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gsid_jax.network import T5Config

EMBEDDING = "shared.weight"
HEAD = "lm_head.weight"
# The embedding again under other names, and a tensor of old files that no version of T5 reads.
ALIASES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
LEFTOVERS = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)
BIAS = "relative_attention_bias.weight"
_PROJECTIONS = {"q": "query", "k": "key", "v": "value", "o": "out"}


def pairs(config: T5Config) -> dict[str, str]:
    """{Hugging Face name: our path} of every weight that both have, the head among them."""
    names = {EMBEDDING: "token_embedder/embedding"}
    for stack, layers in (("encoder", config.num_encoder_layers),
                          ("decoder", config.num_decoder_layers)):
        names[f"{stack}.block.0.layer.0.SelfAttention.{BIAS}"] = f"{stack}/relpos_bias/rel_embedding"
        names[f"{stack}.final_layer_norm.weight"] = f"{stack}/{stack}_norm/scale"
        for i in range(layers):
            names |= _layer(f"{stack}.block.{i}.layer", f"{stack}/layers_{i}", stack == "decoder",
                            len(config.mlp_activations))
    if not config.logits_via_embedding:
        names[HEAD] = "logits_dense/kernel"
    return names


def _layer(theirs: str, ours: str, is_decoder: bool, gates: int) -> dict[str, str]:
    self_attention = "self_attention" if is_decoder else "attention"
    blocks = [("SelfAttention", self_attention, f"pre_{self_attention}_layer_norm")]
    if is_decoder:
        blocks.append(("EncDecAttention", "encoder_decoder_attention",
                       "pre_cross_attention_layer_norm"))
    names = {}
    for number, (block, attention, norm) in enumerate(blocks):
        names[f"{theirs}.{number}.layer_norm.weight"] = f"{ours}/{norm}/scale"
        names |= {f"{theirs}.{number}.{block}.{short}.weight": f"{ours}/{attention}/{long}/kernel"
                  for short, long in _PROJECTIONS.items()}
    last = len(blocks)
    names[f"{theirs}.{last}.layer_norm.weight"] = f"{ours}/pre_mlp_layer_norm/scale"
    for kernel in ("wi",) if gates == 1 else ("wi_0", "wi_1"):
        names[f"{theirs}.{last}.DenseReluDense.{kernel}.weight"] = f"{ours}/mlp/{kernel}/kernel"
    names[f"{theirs}.{last}.DenseReluDense.wo.weight"] = f"{ours}/mlp/wo/kernel"
    return names


def transposed(name: str) -> bool:
    """Whether the matrix behind our path lies the other way round at Hugging Face."""
    return name.endswith(("/kernel", "/rel_embedding"))


def across(name: str, array: np.ndarray) -> np.ndarray:
    """An array under our path `name`, from their layout to ours or back."""
    return np.ascontiguousarray(array.T) if transposed(name) else array


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{'a/b': x} as {'a': {'b': x}}."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *folders, leaf = name.split("/")
        node = tree
        for part in folders:
            node = node.setdefault(part, {})
        node[leaf] = value
    return tree
