"""gin text of a model: a file as those in gin_configs/models, and all that reads a checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from gsid_jax.network import T5Config

_PLACES = {"DATA_DIR": "", "MODEL_DIR": "", "INITIAL_CHECKPOINT_PATH": None, "TRAIN_STEPS": 1,
           "WARMUP_STEPS": 0}


def network(config: T5Config, extra_ids: int, comment: str) -> str:
    """A model file: what T5Config says, on top of gin_configs/models/base.gin."""
    values = {"VOCAB_SIZE": config.vocab_size, "EXTRA_IDS": extra_ids,
              "NUM_LEVELS": config.num_levels, "CODEBOOK_SIZE": config.codebook_size,
              "DTYPE": jnp.dtype(config.dtype).name, "REMAT_POLICY": config.remat_policy,
              "SCAN_LAYERS": config.scan_layers}
    own = ("emb_dim", "num_heads", "head_dim", "mlp_dim", "mlp_activations", "num_encoder_layers",
           "num_decoder_layers", "relative_buckets", "relative_max_distance",
           "logits_via_embedding", "scale_logits", "code_embedding_scale", "pooled_output")
    return "\n".join([
        f"# {comment}", "", "include 'gin_configs/models/base.gin'", "",
        *(f"{name} = {value!r}" for name, value in values.items()), "", "network.T5Config:",
        *(f"  {name} = {getattr(config, name)!r}" for name in own)]) + "\n"


def model_and_run(model: Any, task_feature_lengths: Mapping[str, int], extra_ids: int,
                  vocabulary: str) -> str:
    """All that `trained_model.load` asks of a configuration: sizes, level, codebook, vocabulary.

    `model` is a PretrainModel or a GSIDModel.
    """
    level = getattr(model, "level", 0)
    values = _PLACES | {"VOCABULARY": str(vocabulary), "DROPOUT_RATE":
                        model.module.config.dropout_rate}
    lines = []
    if task_feature_lengths:
        values["TASK_FEATURE_LENGTHS"] = dict(task_feature_lengths)
    if level:
        values["LEVEL"] = level
        lines = [f"CodebookConfig.{name} = {value!r}"
                 for name, value in dataclasses.asdict(model.codebook).items()]
    return "\n".join([
        network(model.module.config, extra_ids, "What this directory's checkpoint is read by."),
        f"include 'gin_configs/runs/{'infer' if level else 'pretrain'}.gin'", "",
        *(f"{name} = {value!r}" for name, value in values.items()), *lines]) + "\n"
