"""Stops a run whose loss has become worse than where it began, before it costs checkpoints."""

import math
from collections.abc import Mapping
from typing import Any

from gsid_jax.errors import UserError


class DivergedError(UserError):
    """The loss has stayed far above its start."""


class Divergence:
    """Watches the loss of every report.

    Loss diverges when it stays above `factor` times its first report for `patience` reports one
    after another. When the contrastive-only phase of a step ends, the loss gains terms, so the
    comparison starts anew.

    Args:
      factor: a limit relative to the first report; 0 for no check.
      patience: reports above it, in a row, until the run stops.
    """

    def __init__(self, factor: float = 2.0, patience: int = 3):
        if factor < 0 or patience < 1:
            raise UserError(f"train.divergence_factor is {factor} with patience {patience}; "
                            "expected 0 (no check) or more, and at least 1")
        self._factor = factor
        self._patience = patience
        self.state: dict[str, Any] = {"first": None, "phase": None, "above": 0}  # JSON values

    @property
    def suspicious(self) -> bool:
        """Whether the loss is above the limit now: such a state is not worth a checkpoint."""
        return self.state["above"] > 0

    def check(self, step: int, means: Mapping[str, float], last_checkpoint: int | None) -> None:
        """Looks at one report's means; raises DivergedError when patience is over."""
        loss, phase = means.get("loss"), means.get("contrastive_only", 0.0)
        if not self._factor or loss is None or not math.isfinite(loss):
            return
        if self.state["first"] is None or phase != self.state["phase"]:
            self.state = {"first": loss, "phase": phase, "above": 0}
            return
        limit = self._factor * max(self.state["first"], 1e-3)
        self.state["above"] = self.state["above"] + 1 if loss > limit else 0
        if self.state["above"] < self._patience:
            return
        kept = (f"the checkpoint of step {last_checkpoint} is kept" if last_checkpoint
                else "there is no checkpoint yet")
        raise DivergedError(
            f"training stopped: the loss diverges, it is {loss:.3g} at step {step} and was "
            f"{self.state['first']:.3g} at first; expected at most {limit:.3g} within "
            f"{self._patience} reports. {kept[0].upper()}{kept[1:]}. Lower LEARNING_RATE or "
            "lengthen WARMUP_STEPS (--gin.train.divergence_factor=0 goes on regardless)")
