"""The report of a training run: one console line and TensorBoard scalars every few steps."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from gsid_jax import quiet
from gsid_jax.progress import clock

# What the console line shows, in this order, of what the model reports. TensorBoard has all.
CONSOLE = ("loss", "cross_entropy", "contrastive", "alignment", "commitment", "distillation",
           "argmax_ce", "token_accuracy", "query_accuracy", "perplexity",
           "conditional_perplexity")

HostMetrics = Mapping[str, tuple[float, float]]


class TrainingLog:
    """Averages metrics over the steps since the last report, and reports them.

    The averages under way are part of a checkpoint (`window`), so a resumed run reports what an
    uninterrupted one does.
    """

    def __init__(self, total_steps: int, batch_size: int, writer: Any = None,
                 stream: TextIO | None = None, now: Callable[[], float] = time.monotonic):
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._writer = writer
        self._stream = stream
        self._now = now
        self._since: tuple[int, float] | None = None  # step and time the speed is measured from
        self.window: dict[str, list[float]] = {}
        self.latest: dict[str, float] = {}

    def start(self, step: int) -> None:
        """Measures speed from here on; called when the first step has been compiled."""
        self._since = (step, self._now())

    def add(self, metrics: HostMetrics) -> None:
        """Adds one step's totals and counts."""
        for name, (total, count) in metrics.items():
            have = self.window.setdefault(name, [0.0, 0.0])
            have[0] += float(total)
            have[1] += float(count)

    def report(self, step: int, times: Mapping[str, float] | None = None) -> dict[str, float]:
        """Reports the means since the last report, and returns them; `times` are scalars of
        `StepTimes.report`."""
        means = means_of(self.window)
        self.window = {}
        self.latest = means
        parts = [f"step {step:,}/{self._total_steps:,}"]
        parts += [f"{name} {_number(means[name])}" for name in CONSOLE if name in means]
        if self._since is not None and self._now() > self._since[1]:
            rate = (step - self._since[0]) / (self._now() - self._since[1])
            if rate > 0:
                parts.append(f"{_number(rate)} steps/s")
                parts.append(f"{rate * self._batch_size:,.0f} examples/s")
                parts.append(f"ETA {clock((self._total_steps - step) / rate)}")
                self.write(step, {"steps_per_second": rate,
                                  "examples_per_second": rate * self._batch_size})
            self.start(step)
        if times:
            parts.append(f"waiting for data {times['time/data']:.0%}")
            parts.append(f"goodput {times['goodput']:.0%}")
            self.write(step, times)
        self.say("  ".join(parts))
        self.write(step, {f"train/{name}": value for name, value in means.items()})
        return means

    def report_eval(self, step: int, metrics: HostMetrics) -> dict[str, float]:
        """Reports an evaluation pass."""
        means = means_of(metrics)
        parts = [f"{name} {_number(means[name])}" for name in CONSOLE if name in means]
        self.say("  ".join([f"eval at step {step:,}", *parts]))
        self.write(step, {f"eval/{name}": value for name, value in means.items()})
        return means

    def say(self, text: str) -> None:
        print(text, file=self._stream or sys.stdout, flush=True)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        if self._writer is not None:
            self._writer.write_scalars(step, dict(scalars))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.flush()
            self._writer.close()


def means_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """{name: (total, count)} -> {name: mean}; 0 where nothing was counted."""
    return {name: total / count if count else 0.0 for name, (total, count) in metrics.items()}


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def tensorboard_writer(model_dir: str) -> Any:
    """A CLU writer of TensorBoard events under MODEL_DIR/tensorboard."""
    quiet.tensorflow()
    from clu import metric_writers
    return metric_writers.SummaryWriter(os.path.join(model_dir, "tensorboard"))
