"""Do new items still look like those the model was trained on? Three signals with confidence.

A signal raises an alarm only if the change is larger than a margin beyond doubt, so that a small
batch raises none for its size alone: intervals hold at level ``alpha`` over all signals together.
"""

import dataclasses

import numpy as np
from scipy.stats import norm

from gsid_jax.errors import UserError
from gsid_jax.evaluate.codes import agreement, code_health

LOW_PROBABILITY, PERPLEXITY, AGREEMENT = ("low probability", "conditional perplexity",
                                          "query-item agreement")
TOO_FEW, NONE, WATCH, RETRAIN = "too few to judge", "no drift", "watch", "retrain"
MIN_SAMPLES = 30  # items of a batch below which nothing is an alarm
MIN_REFERENCE = 100  # held-out items or pairs below which all of the run's are the reference


@dataclasses.dataclass(frozen=True)
class Limits:
    """When a change is an alarm."""

    alpha: float = 0.01  # chance of any false alarm, shared by all signals
    margin: float = 0.02  # change of a share beyond which it matters
    perplexity_margin: float = 0.1  # relative change of a perplexity beyond which it matters
    low_share: float = 0.05  # of the training items that count as of low probability
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self):
        if not (0 < self.alpha < 1 and 0 < self.low_share < 1 and self.resamples >= 100
                and self.margin >= 0 and self.perplexity_margin >= 0):
            raise UserError(f"drift limits: alpha {self.alpha} and low_share {self.low_share}, "
                            f"margins {self.margin} and {self.perplexity_margin}, "
                            f"{self.resamples} resamples; expected shares between 0 and 1, margins "
                            "from 0 up and at least 100 resamples")


@dataclasses.dataclass(frozen=True)
class Signal:
    """One comparison. ``low`` and ``high`` bound the change, ``new - reference``, with confidence.

    Of a perplexity they bound where ``new`` would lie without drift.
    """

    name: str
    level: str  # 'l1'..., or 'ID' for the whole
    new: float
    reference: float
    low: float
    high: float
    samples: int  # items of the batch, or items that its pairs are of
    change: bool  # beyond the margin, beyond doubt

    @property
    def alarm(self) -> bool:
        return self.change and self.samples >= MIN_SAMPLES


def wilson(count: int, total: int, z: float) -> tuple[float, float]:
    """Wilson's interval of a share; ``z`` standard deviations wide to each side."""
    share, spread = count / total, z * z / total
    centre = share + spread / 2
    half = z * np.sqrt(share * (1 - share) / total + spread / (4 * total))
    return float((centre - half) / (1 + spread)), float((centre + half) / (1 + spread))


def share_change(new: np.ndarray, reference: np.ndarray, z: float) -> tuple[float, float]:
    """Newcombe's interval of the change of a share between two samples; bool [n], bool [m]."""
    low_new, high_new = wilson(int(new.sum()), len(new), z)
    low_old, high_old = wilson(int(reference.sum()), len(reference), z)
    share_new, share_old = float(new.mean()), float(reference.mean())
    change = share_new - share_old
    return (change - float(np.hypot(share_new - low_new, high_old - share_old)),
            change + float(np.hypot(high_new - share_new, share_old - low_old)))


def low_probability(new: np.ndarray, held_out: np.ndarray, training: np.ndarray, limits: Limits,
                    alpha: float) -> list[Signal]:
    """Share of IDs and of codes less probable than nearly all of the training items'.

    Args: probabilities of the codes given those before, float [n, T], of the new items, of items
    the run was not trained on, and of its training items, whose ``low_share`` quantile is the
    threshold. Held-out items tell what share is normal for items never trained on.
    """
    signals = []
    z = float(norm.isf(alpha))
    sides = [np.log(np.maximum(side, 1e-30)) for side in (new, held_out, training)]
    for level in range(new.shape[1] + 1):
        whole = level == new.shape[1]
        new_p, held_p, train_p = (side.sum(axis=1) if whole else side[:, level] for side in sides)
        threshold = np.quantile(train_p, limits.low_share)
        below, normal = new_p < threshold, held_p < threshold
        low, high = share_change(below, normal, z)
        signals.append(Signal(LOW_PROBABILITY, "ID" if whole else f"l{level + 1}",
                              float(below.mean()), float(normal.mean()), low, high, len(new),
                              low > limits.margin))
    return signals


def perplexities(codes: np.ndarray) -> np.ndarray:
    """exp H(z_t | z_<t) by level; int [n, T] -> float64 [T]."""
    return np.array([level["conditional_perplexity"] for level in code_health(codes).values()])


def conditional_perplexity(new: np.ndarray, training: np.ndarray, limits: Limits, alpha: float
                           ) -> list[Signal]:
    """How the new items' codes branch, against as many items drawn from the training items.

    Drawn without replacement, since repeated items would branch less. What that hides of the
    spread, because a large sample of few items varies little, is put back.
    """
    random = np.random.default_rng(limits.seed)
    size = min(len(new), len(training) // 2)
    resamples = min(limits.resamples, max(100, 4_000_000 // max(size, 1)))

    def samples(codes, count):
        return np.stack([perplexities(codes[random.choice(len(codes), size, replace=False)])
                         for _ in range(count)])

    found = perplexities(new) if size == len(new) else samples(new, 20).mean(axis=0)
    normal = samples(training, resamples)
    share = size / len(training)
    spread = normal.std(axis=0) * np.sqrt((1 + share) / (1 - share)) * norm.isf(alpha / 2)
    centre = normal.mean(axis=0)
    signals = []
    for level in range(new.shape[1]):
        low, high = float(centre[level] - spread[level]), float(centre[level] + spread[level])
        value, reference = float(found[level]), float(centre[level])
        far = abs(value / reference - 1) > limits.perplexity_margin
        signals.append(Signal(PERPLEXITY, f"l{level + 1}", value, reference, low, high, len(new),
                              bool(far and not low <= value <= high)))
    return signals


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Query-item pairs: whether the first j codes agree, and which item each pair is of."""

    agree: np.ndarray  # bool [P, T]
    item: np.ndarray  # int64 [P]

    @classmethod
    def of(cls, query_codes: np.ndarray, item_codes: np.ndarray, item: np.ndarray) -> "Pairs":
        return cls(agreement(query_codes, item_codes), item)

    def resampled(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Mean agreement of ``count`` bootstrap samples, float64 [count, T].

        Whole items are drawn: pairs of one item are right or wrong together.
        """
        _, item = np.unique(self.item, return_inverse=True)
        items = int(item.max()) + 1
        right = np.stack([np.bincount(item, column, items) for column in self.agree.T], axis=1)
        pairs = np.bincount(item, minlength=items)
        means = np.empty((count, self.agree.shape[1]))
        for row in range(count):
            drawn = np.bincount(random.integers(0, items, items), minlength=items)
            means[row] = drawn @ right / (drawn @ pairs)
        return means


def pair_agreement(new: Pairs, held_out: Pairs, limits: Limits, alpha: float) -> list[Signal]:
    """Share of pairs whose first j codes agree, fresh pairs against the run's held-out ones."""
    random = np.random.default_rng(limits.seed)
    new_means = new.resampled(limits.resamples, random)
    spread = np.sqrt(new_means.var(axis=0)
                     + held_out.resampled(limits.resamples, random).var(axis=0))
    # Few items that all agree, or none, have no spread of their own.
    items = len(np.unique(new.item))
    spread = np.maximum(spread, 0.5 / (items + 1)) * norm.isf(alpha)
    signals = []
    for level in range(new.agree.shape[1]):
        fresh = float(new.agree[:, level].mean())
        reference = float(held_out.agree[:, level].mean())
        low, high = (float(fresh - reference + sign * spread[level]) for sign in (-1, 1))
        signals.append(Signal(AGREEMENT, f"l{level + 1}", fresh, reference, low, high,
                              items, high < -limits.margin))
    return signals


def verdict(signals: list[Signal]) -> str:
    """What to do. Doubtful codes and queries that miss their items ask for new training; items
    that merely spread over the codes in another way are to be watched."""
    if all(signal.samples < MIN_SAMPLES for signal in signals):
        return TOO_FEW
    alarms = {signal.name for signal in signals if signal.alarm}
    if alarms & {LOW_PROBABILITY, AGREEMENT}:
        return RETRAIN
    return WATCH if alarms else NONE
