"""config.json of a Hugging Face T5, as transformers 4 and 5 write it, and our T5Config.

transformers 5 writes `tie_word_embeddings: true` whatever the model does, and says in
`scale_decoder_outputs` what transformers 4 said with `tie_word_embeddings`. So whether the head
is tied is taken from the tensors, and the rest from what the file says.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.network import T5Config
from tools.hf_t5 import names

FILE = "config.json"
FAMILIES = ("t5", "mt5")
SIZES = {"vocab_size": "vocab_size", "d_model": "emb_dim", "num_heads": "num_heads",
         "d_kv": "head_dim", "d_ff": "mlp_dim", "num_layers": "num_encoder_layers"}
FEED_FORWARD = {  # feed_forward_proj: mlp_activations; 'gated-gelu' is the tanh approximation
    "relu": ("relu",), "gated-relu": ("relu", "linear"), "gated-gelu": ("gelu", "linear"),
    "gated-gelu_new": ("gelu", "linear"), "gelu_new": ("gelu",), "silu": ("silu",),
    "gated-silu": ("silu", "linear")}
EPSILON = 1e-6  # of network.LayerNorm


def read(folder: str | os.PathLike) -> dict[str, Any]:
    """What config.json says; UserError if there is none or it is not of a T5 or mT5."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a directory; expected a Hugging Face T5 folder with "
                        f"{FILE}, weights and spiece.model: correct --source")
    path = folder / FILE
    if not path.is_file():
        there = ", ".join(sorted(child.name for child in folder.iterdir())[:12]) or "nothing"
        raise UserError(f"{folder} has no {FILE}: it holds {there}; expected a Hugging Face T5 "
                        "folder: correct --source, or fetch the file")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); fetch it again") from error
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(f"{path} is of a model of type {family!r} "
                        f"({', '.join(config.get('architectures') or ['no architecture named'])});"
                        f" expected {' or '.join(map(repr, FAMILIES))} (T5 1.0, T5 1.1, mT5, "
                        "Mengzi-T5): give a T5 folder in --source")
    return config


def to_network(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
               **ours: Any) -> T5Config:
    """The T5Config of a folder; `ours` are fields that only we have, such as num_levels.

    Raises UserError for a size that is missing or an option that the network does not have.
    """
    if absent := [name for name in SIZES if not isinstance(config.get(name), int)]:
        raise UserError(f"{FILE} lacks {', '.join(absent)}; expected the sizes of a T5 as "
                        f"integers: {', '.join(SIZES)}: fetch the model's own {FILE}")
    default = "relu" if config["model_type"] == "t5" else "gated-gelu"
    feed_forward = config.get("feed_forward_proj", default)
    if feed_forward not in FEED_FORWARD:
        raise UserError(f"{FILE}: feed_forward_proj is {feed_forward!r}; expected one of "
                        f"{', '.join(FEED_FORWARD)}: the network has no other")
    epsilon = config.get("layer_norm_epsilon", EPSILON)
    if epsilon != EPSILON:
        raise UserError(f"{FILE}: layer_norm_epsilon is {epsilon}; expected {EPSILON}, as every "
                        "T5 has: the network has no other")
    tied = is_tied(config, tensors)
    return T5Config(
        **{field: config[name] for name, field in SIZES.items()},
        num_decoder_layers=config.get("num_decoder_layers") or config["num_layers"],
        mlp_activations=FEED_FORWARD[feed_forward],
        dropout_rate=float(config.get("dropout_rate", 0.1)),
        relative_buckets=config.get("relative_attention_num_buckets", 32),
        relative_max_distance=config.get("relative_attention_max_distance", 128),
        logits_via_embedding=tied, scale_logits=is_scaled(config, tied), **ours)


def is_tied(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether the head is the embedding: it has no tensor of its own, or an equal one."""
    head, embedding = tensors.get(names.HEAD), tensors.get(names.EMBEDDING)
    if head is None:
        # Only transformers 4 means it: 5 writes true always.
        return config.get("tie_word_embeddings") is not False
    return embedding is not None and head.shape == embedding.shape and np.array_equal(head,
                                                                                     embedding)


def is_scaled(config: Mapping[str, Any], tied: bool) -> bool:
    """Whether the decoder's output is multiplied by D^-1/2 before the head."""
    if "scale_decoder_outputs" in config:
        return bool(config["scale_decoder_outputs"])
    version = str(config.get("transformers_version", "4")).split(".")[0]
    if config["model_type"] == "mt5" and version.isdecimal() and int(version) >= 5:
        return False  # its mT5 scales nothing, whatever is tied
    return tied


def from_network(config: T5Config) -> dict[str, Any]:
    """config.json for a T5Config, which both transformers 4 and 5 read as it is meant."""
    feed_forward = {activations: name for name, activations in reversed(FEED_FORWARD.items())}
    if config.mlp_activations not in feed_forward:
        raise UserError(f"network.T5Config.mlp_activations is {config.mlp_activations}, which "
                        "Hugging Face's T5 does not know; expected one of "
                        f"{sorted(feed_forward)}: the model cannot be exported")
    sizes = {name: getattr(config, field) for name, field in SIZES.items()}
    return {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", **sizes,
        "num_decoder_layers": config.num_decoder_layers,
        "feed_forward_proj": feed_forward[config.mlp_activations],
        "dropout_rate": config.dropout_rate, "layer_norm_epsilon": EPSILON,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_max_distance,
        "tie_word_embeddings": config.logits_via_embedding,
        "scale_decoder_outputs": config.scaled_logits,
        "is_encoder_decoder": True, "use_cache": True, "initializer_factor": 1.0,
        "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
        "torch_dtype": "float32"}
