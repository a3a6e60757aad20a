"""Makes the library's parts configurable with gin, so that they need not import it.

Names are `module.name` as in T5X: `network.T5Config.emb_dim`, `trainer.Trainer.num_microbatches`,
`train.total_steps`. Importing this module registers them.
"""

import os
from collections.abc import Callable
from typing import Any

import gin

from gsid_jax import (checkpoints, codebook, data_iterator, gsid_model, health, leaf_model, models,
                      network, optimizers, partitioning, trainer)
from gsid_jax import pipeline as _pipeline
from gsid_jax import train as _train
from gsid_jax.errors import UserError


def run_path(run_dir: str | None = None, name: str = "") -> str:
    """RUN_DIR/name: where a pipeline run keeps its stages.

    Raises UserError if there is no RUN_DIR.
    """
    if not run_dir:
        raise UserError(f"RUN_DIR is not set, so there is no place for {name!r}; expected "
                        "--gin.RUN_DIR=\"'runs/NAME'\", or the paths themselves (MODEL_DIR, "
                        "INITIAL_CHECKPOINT_PATH, DATA_DIR, VOCABULARY)")
    return os.path.join(run_dir, name)


_CONFIGURABLES: tuple[tuple[str, tuple[Callable[..., Any], ...]], ...] = (
    ("network", (network.T5Config, network.GSIDNetwork)),
    ("codebook", (codebook.CodebookConfig,)),
    ("models", (models.PretrainModel, models.DualEncoderModel)),
    ("gsid_model", (gsid_model.GSIDModel,)),
    ("leaf_model", (leaf_model.FitModel,)),
    ("health", (health.CollapseGuard,)),
    ("optimizers", (optimizers.adafactor, optimizers.adamw, optimizers.schedule)),
    ("partitioning", (partitioning.Partitioner, partitioning.standard_logical_axis_rules)),
    ("trainer", (trainer.Trainer,)),
    ("checkpoints", (checkpoints.CheckpointConfig, checkpoints.SaveCheckpointConfig,
                     checkpoints.RestoreCheckpointConfig)),
    ("data_iterator", (data_iterator.DatasetConfig,)),
    ("pipeline", (_pipeline.Data, _pipeline.Vocabulary)),
    ("gin_setup", (run_path,)),
    ("train", (_train.train,)),
    ("pipeline", (_pipeline.Pipeline, _pipeline.Data, _pipeline.Vocabulary)),
)

_registered = {
    f"{module}.{part.__name__}": gin.external_configurable(part, module=f"gsid_jax.{module}")
    for module, parts in _CONFIGURABLES for part in parts}

train = _registered["train.train"]  # as gsid_jax.train.train, with what gin binds
pipeline = _registered["pipeline.Pipeline"]


def names() -> list[str]:
    """The names that this module registers, with and without their module."""
    return [*_registered, *(name.split(".")[-1] for name in _registered)]
