"""The collapse guard: stops a run whose codes have collapsed or only repeat their prefix.

Collapse looks like success (accuracy 100%, KL 0, normal loss: method.md section 6.1), so it is
watched for during training and named with the setting to change.
"""

import dataclasses
import math
from typing import Mapping

from gsid_jax.errors import UserError

MODES = ("stop", "warn", "off")


class CollapseError(UserError):
    """The codes of the level in training have collapsed."""


def perplexity_floor(codebook_size: int, share: float = 0.1) -> float:
    """Below this perplexity a level has collapsed: a share of K, never less than 2 codes."""
    return max(2.0, share * codebook_size)


@dataclasses.dataclass
class CollapseGuard:
    """Checks the health of the codes at every report of the trainer.

    A level is unhealthy when few codes carry all items (perplexity), when one code takes most of
    them (max_share), or when the code follows from its prefix (conditional_perplexity). It must
    be so in `patience` checks one after another, so that a start is not mistaken for a collapse.
    """

    codebook_size: int
    level: int = 1
    mode: str = "stop"
    min_perplexity: float = 0.1  # share of K; never below 2 codes
    max_share: float = 0.5
    min_conditional_perplexity: float = 1.5  # from level 2 on
    patience: int = 3
    unhealthy_checks: int = 0  # in a row so far; a checkpoint keeps it

    def __post_init__(self):
        if self.mode not in MODES:
            raise UserError(f"CollapseGuard.mode: got {self.mode!r}, expected one of {MODES}")

    def findings(self, metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
        """(what was seen, likely cause, binding to change) for each limit that is broken."""
        found = []
        floor = perplexity_floor(self.codebook_size, self.min_perplexity)
        perplexity, share = metrics["perplexity"], metrics["max_share"]
        if not perplexity >= floor or not share <= self.max_share:
            found.append((
                f"perplexity {perplexity:.1f} of {self.codebook_size} (at least {floor:.1f} "
                f"expected), largest code holds {share:.0%} of the items",
                "no balance term, a codebook not started from item outputs, or a raw dot product "
                "whose outputs share one large mean vector",
                "GSIDModel.balance='entropy', CodebookConfig.start='kmeans', "
                "CodebookConfig.lookup='cosine', or a smaller GSIDModel.alignment_weight"))
        conditional = metrics.get("conditional_perplexity", math.inf)
        if self.level > 1 and not conditional >= self.min_conditional_perplexity:
            found.append((
                f"conditional perplexity {conditional:.2f} (at least "
                f"{self.min_conditional_perplexity} expected): the code follows from its prefix",
                "prefix leak: the decoder copies the earlier codes",
                "a larger CodebookConfig.centring (0.3 to 0.7), a smaller "
                "T5Config.code_embedding_scale"))
        return found

    def check(self, step: int, metrics: Mapping[str, float]) -> str | None:
        """Checks one report; returns a warning, raises CollapseError when mode is 'stop'.

        `metrics` without a perplexity (pre-training) and the contrastive-only phase are passed
        over.
        """
        if (self.mode == "off" or "perplexity" not in metrics
                or metrics.get("contrastive_only", 0.0) > 0):
            return None
        found = self.findings(metrics)
        self.unhealthy_checks = self.unhealthy_checks + 1 if found else 0
        if self.unhealthy_checks < self.patience:
            return None
        message = f"the codes of level {self.level} have collapsed at step {step}: " + "; ".join(
            f"{seen}. Likely cause: {cause}. To change: {binding}" for seen, cause, binding in found)
        if self.mode == "stop":
            raise CollapseError(
                message + ". (--gin.CollapseGuard.mode=\"'warn'\" goes on regardless)")
        return message
