"""The loop: dispatch a step, read the previous step's metrics, report, evaluate, save.

The device works on step n while the host reads step n - 1's metrics and prepares the next batch.
"""

import itertools
import time
from collections.abc import Mapping
from typing import Any

import jax

from gsid_jax.checkpoint_files import warn
from gsid_jax.checkpoints import Checkpoints, RestoreCheckpointConfig, initialise
from gsid_jax.divergence import Divergence
from gsid_jax.errors import UserError
from gsid_jax.preemption import EXIT_STATUS, Preemption
from gsid_jax.step_times import StepTimes
from gsid_jax.trainer import Metrics, Trainer, check_finite
from gsid_jax.training_log import TrainingLog


def on_host(metrics: Metrics) -> dict[str, tuple[float, float]]:
    """Waits for the metrics and returns their totals and counts."""
    return {name: (float(mean.total), float(mean.count))
            for name, mean in jax.device_get(metrics).items()}


class Evaluation:
    """The same first batches of a dataset at every evaluation, read once and kept.

    `batches` is empty if the data has no whole batch.
    """

    def __init__(self, trainer: Trainer, dataset_cfg: Any, steps: int, period: int):
        self.period = period
        self._trainer = trainer
        layout = trainer.partitioner.data_layout(
            dataset_cfg.batch_size, binding="train_eval/DatasetConfig.batch_size")
        self.batches: list[Mapping[str, Any]] = list(itertools.islice(
            dataset_cfg.open(trainer.model, layout.shard_index, layout.num_shards), steps))

    def __call__(self, state: Any) -> dict[str, tuple[float, float]]:
        """Totals and counts over the batches."""
        sums: dict[str, tuple[float, float]] = {}
        for batch in self.batches:
            for name, (total, count) in on_host(self._trainer.eval_step(state, batch)).items():
                have = sums.get(name, (0.0, 0.0))
                sums[name] = (have[0] + total, have[1] + count)
        return sums


class TrainingLoop:
    """One run: its state, where its batches come from, where it reports and saves.

    Args:
      trainer: the compiled steps.
      batches: an iterator with `save(directory)` and `restore(directory)`.
      log: the report.
      checkpoints: None to save nothing.
      guard: see `gsid_jax.train.train`.
      stage: goes into every checkpoint.
      settings: what a resumed run must not change, by the name of its binding.
      divergence: watches the loss; None for the default.
    """

    def __init__(self, trainer: Trainer, batches: Any, log: TrainingLog,
                 checkpoints: Checkpoints | None = None, guard: Any = None, stage: str = "train",
                 settings: Mapping[str, Any] | None = None,
                 divergence: Divergence | None = None):
        self.step = 0
        self.state: Any = None
        self._trainer = trainer
        self._batches = batches
        self._log = log
        self._checkpoints = checkpoints
        self._guard = guard
        self._stage = stage
        self._settings = dict(settings or {})
        self._saved_step: int | None = None
        self._divergence = divergence or Divergence()
        self._times = StepTimes()

    def start(self, seed: int, restore: RestoreCheckpointConfig | None = None) -> int | None:
        """Takes up the last checkpoint and returns its step; else starts anew and returns None.

        A new start draws its parameters from `seed`, then takes over those of `restore.path`.
        """
        trainer = self._trainer
        found = self._checkpoints and self._checkpoints.restore(
            trainer.state_shapes, trainer.state_shardings, self._batches.restore, self._settings)
        if found:
            self.state, loop = found
            self.step = self._saved_step = loop["step"]
            self._log.window = {name: list(pair) for name, pair in loop["window"].items()}
            self._log.latest = loop["latest"]
            if self._guard is not None:
                self._guard.unhealthy_checks = loop["unhealthy_checks"]
            self._divergence.state = loop.get("divergence", self._divergence.state)
            self._log.say(f"resuming from step {self.step:,} of {self._checkpoints.directory}")
            return self.step
        self.state = trainer.new_state(seed)
        if restore is not None and restore.path:
            # From level 2 on a step builds on codebooks; before, pre-training has none to give.
            fresh = getattr(trainer.model, "level", 1) == 1
            self.state, said = initialise(self.state, trainer.state_shardings, restore, fresh)
            self._log.say(f"starting anew: {said}")
        else:
            self._log.say(f"starting anew from random parameters, seed {seed}")
        return None

    def run(self, total_steps: int, log_period: int, save_period: int,
            evaluation: Evaluation | None = None) -> None:
        """Trains up to step `total_steps`. SIGTERM saves and raises SystemExit(143)."""
        pending, compiled = None, False
        with Preemption() as preemption:
            while self.step < total_steps:
                with self._times.of("data"):
                    batch = self._next_batch()
                begun = time.monotonic()
                with self._times.of("dispatch"):
                    self.state, metrics = self._trainer.train_step(self.state, batch)
                if not compiled:
                    compiled = True
                    self._log.say(f"compiled in {time.monotonic() - begun:.1f} s")
                    self._log.start(self.step)
                    self._times.start()
                self._settle(pending, log_period, total_steps)
                self.step += 1
                pending = (self.step, metrics)

                last = self.step == total_steps
                stopping = self._stopping(preemption) and not last
                saving = self._checkpoints and (
                    last or stopping or self.step % save_period == 0)
                evaluating = evaluation and (last or self.step % evaluation.period == 0)
                if last or stopping or saving or evaluating:
                    self._settle(pending, log_period, total_steps)
                    pending = None
                if self._divergence.suspicious and not (last or stopping):
                    saving = False  # the checkpoint before is the better one
                if evaluating:
                    with self._times.of("evaluation"):
                        self._log.report_eval(self.step, evaluation(self.state))
                if saving:
                    with self._times.of("checkpoint"):
                        self._save()
                if stopping:
                    self._leave()

    def _next_batch(self) -> Mapping[str, Any]:
        try:
            return next(self._batches)
        except StopIteration:
            raise UserError(
                f"the training data ended after {self.step:,} steps; expected data that repeats: "
                "set train/DatasetConfig.num_epochs=None, or lower TRAIN_STEPS") from None

    def _settle(self, pending, log_period: int, total_steps: int) -> None:
        """Reads a dispatched step's metrics, and reports at its time."""
        if pending is None:
            return
        step, metrics = pending
        with self._times.of("device"):
            metrics = on_host(metrics)
        check_finite(step, metrics, self._saved_step)
        self._log.add(metrics)
        if step % log_period == 0 or step == total_steps:
            shares, slow = self._times.report()
            means = self._log.report(step, shares)
            warning = self._guard.check(step, means) if self._guard is not None else None
            for text in (warning, slow):
                if text:
                    warn(text)
            self._divergence.check(step, means, self._saved_step)

    def _save(self) -> None:
        loop = {"stage": self._stage, "settings": self._settings, "window": self._log.window,
                "latest": self._log.latest, "divergence": self._divergence.state,
                "unhealthy_checks": getattr(self._guard, "unhealthy_checks", 0)}
        self._checkpoints.save(self.state, loop, self._batches.save)
        self._saved_step = self.step

    def _stopping(self, preemption: Preemption) -> bool:
        if self._checkpoints and jax.process_count() > 1:
            return self._checkpoints.reached_preemption(self.step)
        return preemption.requested

    def _leave(self) -> None:
        saved = ("a checkpoint is saved: the same command goes on from there" if self._checkpoints
                 else "nothing is saved, as train.checkpoint_cfg says")
        self._log.say(f"stopped by SIGTERM after step {self.step:,}; {saved}")
        raise SystemExit(EXIT_STATUS)
