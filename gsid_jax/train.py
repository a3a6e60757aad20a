"""Entry point: trains one model from a gin configuration.

    python -m gsid_jax.train --gin_file=gin_configs/models/small.gin \\
        --gin_file=gin_configs/runs/pretrain.gin --gin.RUN_DIR="'runs/a'" --gin.TRAIN_STEPS=1000

`train` is the same as a function. A run that was stopped at any point goes on from its last
checkpoint when it is started again, and ends with the same numbers.
"""

import contextlib
import dataclasses
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import jax

from gsid_jax.checkpoint_files import model_dir_of, warn
from gsid_jax.checkpoints import CheckpointConfig, Checkpoints, find
from gsid_jax.divergence import Divergence
from gsid_jax.errors import UserError
from gsid_jax.partitioning import DataLayout, Partitioner
from gsid_jax.trainer import Trainer, use_compilation_cache
from gsid_jax.training_log import TrainingLog, tensorboard_writer
from gsid_jax.training_loop import Evaluation, TrainingLoop


# What model.json says about the vocabulary, if the caller knows (gsid_jax.trained_model).
VOCABULARY = ("vocabulary_sha256", "extra_ids")


@dataclasses.dataclass(frozen=True)
class TrainSummary:
    """What a finished training leaves behind besides its files."""

    model_dir: str
    step: int
    metrics: dict[str, float]  # of the last report
    resumed_from: int | None  # the step of the checkpoint it went on from
    seconds: float


def train(*, model: Any, model_dir: str, train_dataset_cfg: Any, total_steps: int,
          train_eval_dataset_cfg: Any = None, eval_steps: int = 20, eval_period: int = 1000,
          checkpoint_cfg: CheckpointConfig = CheckpointConfig(),
          partitioner: Partitioner | None = None, trainer_cls: Callable[..., Trainer] = Trainer,
          random_seed: int = 0, log_period: int = 100, guard: Any = None, stage: str = "train",
          divergence_factor: float = 2.0, tensorboard: bool = True, compilation_cache_dir: str | None = None,
          model_info: Mapping[str, Any] | None = None,
          config_text_fn: Callable[[], str] | None = None,
          stream: TextIO | None = None) -> TrainSummary:
    """Trains `model` up to step `total_steps`, from MODEL_DIR's last checkpoint if there is one.

    Args:
      model: fulfils the model contract (`gsid_jax.trainer`).
      model_dir: checkpoints/, tensorboard/, config.gin and model.json go there.
      train_dataset_cfg: a `data_iterator.DatasetConfig`, or anything with its `open`.
      total_steps: steps in all, those before a resumption included.
      train_eval_dataset_cfg, eval_steps, eval_period: the first `eval_steps` batches are
        evaluated every `eval_period` steps and at the end; None for no evaluation.
      checkpoint_cfg: when to save, and where a new run starts from.
      partitioner, trainer_cls: the mesh, and `Trainer` with its options bound.
      random_seed: of initialisation and dropout; the data has its own.
      log_period: steps between two reports.
      guard: `check(step, metrics)` is called with every report; it returns a warning or None, or
        raises to stop the run (`gsid_jax.health`).
      stage: a name that goes into the checkpoint, such as 'step_2'.
      divergence_factor: the run stops when its loss stays above this many times its first report
        (`gsid_jax.divergence`); 0 for no check.
      tensorboard: whether to write events (needs TensorFlow).
      compilation_cache_dir: keeps compiled programs there for the next start.
      model_info: goes into model.json beside the model's sizes; if it tells the vocabulary, that
        is compared with the checkpoint's.
      config_text_fn: returns the text of config.gin.
      stream: where the report goes; None for standard output.

    Raises UserError for what is wrong with the configuration, the data or the checkpoints, and
    when the loss is not finite. SIGTERM saves and raises SystemExit(143).
    """
    begun = time.monotonic()
    if total_steps < 1 or log_period < 1 or eval_period < 1:
        raise UserError(f"TRAIN_STEPS is {total_steps}, LOG_PERIOD {log_period} and EVAL_PERIOD "
                        f"{eval_period}; expected each at least 1")
    if compilation_cache_dir:
        use_compilation_cache(compilation_cache_dir)
    partitioner = partitioner or Partitioner()
    layout = partitioner.data_layout(train_dataset_cfg.batch_size)
    batches = train_dataset_cfg.open(model, layout.shard_index, layout.num_shards)
    trainer = trainer_cls(model=model, partitioner=partitioner, input_spec=batches.element_spec)
    for parts in ("num_chunks", "length_groups", "num_microbatches"):
        layout = partitioner.data_layout(train_dataset_cfg.batch_size, getattr(trainer, parts),
                                         parts=parts)

    first_host = jax.process_index() == 0
    save = checkpoint_cfg.save
    with contextlib.ExitStack() as stack:
        writer = tensorboard_writer(model_dir) if tensorboard and first_host else None
        log = TrainingLog(total_steps, layout.batch_size, writer,
                          stream if first_host else io.StringIO())
        stack.callback(log.close)
        checkpoints = None
        if save is not None:
            checkpoints = Checkpoints(model_dir, save.keep)
            stack.callback(checkpoints.close)
        settings = {"BATCH_SIZE": layout.batch_size, "RANDOM_SEED": random_seed}
        settings |= {name: info for name, info in (model_info or {}).items() if name in VOCABULARY}
        loop = TrainingLoop(trainer, batches, log, checkpoints, guard, stage, settings,
                            Divergence(divergence_factor))
        restore, resuming = checkpoint_cfg.restore, checkpoints and checkpoints.latest_step()
        if restore is not None and restore.path and resuming is None:
            check_vocabulary(restore.path, model_info or {})
        resumed_from = loop.start(random_seed, checkpoint_cfg.restore)
        if first_host:
            write_file(model_dir, "model.json", json.dumps(describe(model, model_info), indent=1))
            if config_text_fn is not None:
                write_file(model_dir, "config.gin", config_text_fn())
        if loop.step >= total_steps:
            log.say(f"trained to step {loop.step:,} already, {total_steps:,} asked: nothing to do")
        else:
            for line in arithmetic(trainer, layout, batches.element_spec):
                log.say(line)
            evaluation = None
            if train_eval_dataset_cfg is not None:
                evaluation = Evaluation(trainer, train_eval_dataset_cfg, eval_steps, eval_period)
            if evaluation is not None and not evaluation.batches:
                warn(f"the evaluation data has no whole batch of "
                     f"{train_eval_dataset_cfg.batch_size}, so nothing is evaluated; lower "
                     "train_eval/DatasetConfig.batch_size to have it")
                evaluation = None
            loop.run(total_steps, log_period, save.period if save else 0, evaluation)
    return TrainSummary(model_dir, loop.step, log.latest, resumed_from, time.monotonic() - begun)


def check_vocabulary(path: str, model_info: Mapping[str, Any]) -> None:
    """Raises UserError if the run at `path` had another vocabulary than `model_info` says.

    Checkpoints without a model.json, such as imported ones, are taken on trust.
    """
    try:
        with open(os.path.join(model_dir_of(find(path)[0]), "model.json"),
                  encoding="utf-8") as file:
            theirs = json.load(file)
    except FileNotFoundError:
        return
    for name in VOCABULARY:
        if name in theirs and name in model_info and theirs[name] != model_info[name]:
            raise UserError(
                f"the checkpoint at {path} was trained with {name} {theirs[name]}, this run has "
                f"{model_info[name]}; expected the same vocabulary, as its ids are what the "
                "embeddings stand for: correct VOCABULARY (and EXTRA_IDS) or "
                "INITIAL_CHECKPOINT_PATH")


def arithmetic(trainer: Trainer, layout: DataLayout, input_spec: Mapping[str, Any]) -> list[str]:
    """The run's arithmetic in lines: devices, batch, what the model adds, parameters, memory."""
    shapes = ", ".join(f"{name} {list(spec.shape)}" for name, spec in input_spec.items())
    lines = [
        f"devices: {trainer.partitioner.describe()}",
        f"batch: {layout.batch_size} global, {layout.host_batch_size} a host, "
        f"{layout.device_batch_size} a device, in {layout.num_microbatches} microbatch"
        f"{'es' if layout.num_microbatches > 1 else ''} of "
        f"{layout.batch_size // layout.num_microbatches}",
        f"features of a host: {shapes}",
    ]
    if hasattr(trainer.model, "arithmetic"):
        lines += trainer.model.arithmetic(input_spec, layout)
    return lines + trainer.describe()


def describe(model: Any, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What model.json says: class, level and the sizes of the network, JSON values."""
    config = getattr(getattr(model, "module", None), "config", None)
    network = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else {}
    plain = (str, int, float, bool, list, tuple, type(None))
    network = {name: value if isinstance(value, plain) else str(value)
               for name, value in network.items()}
    return {"model": type(model).__name__, "level": getattr(model, "level", None),
            "network": network, **(extra or {})}


def write_file(model_dir: str, name: str, text: str) -> None:
    """Writes a small file whole or not at all."""
    os.makedirs(model_dir, exist_ok=True)
    path = os.path.join(model_dir, name)
    with open(f"{path}.tmp", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.tmp", path)


def main(argv: list[str]) -> None:
    """Trains what the gin flags describe."""
    from gsid_jax import gin_setup, launch
    launch.start(argv)
    from gsid_jax.trained_model import vocabulary_info
    from tasks import location
    from tasks.vocabulary import VOCABULARY as vocabulary
    info = vocabulary_info(vocabulary) if location.current().vocabulary else {}
    gin_setup.train(config_text_fn=launch.config_text, model_info=info)


if __name__ == "__main__":
    from gsid_jax import launch as _launch
    _launch.run(main)
