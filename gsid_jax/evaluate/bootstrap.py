"""Paired bootstrap: how sure a difference between two methods is (method.md section 5).

Triggers are resampled, each with all its pairs; both methods see the same draw. A figure is
sum(values) / sum(weights) over triggers, so that a share of pairs is resampled by trigger too.
"""

import numpy as np

from gsid_jax.evaluate.judge import Sample

RESAMPLES = 2000
BLOCK = 100  # resamples drawn at a time
LEVEL = 0.95


def difference(ours: list[Sample], theirs: list[Sample], seed: int = 0,
               resamples: int = RESAMPLES, same_triggers: bool = True) -> dict[str, float]:
    """Mean over seeds of ours minus theirs, with a 95% interval: ``difference, low, high``.

    One sample per seed. same_triggers: the seeds share one dataset, so a draw of triggers holds for
    all of them; otherwise each seed draws its own.
    """
    draw = np.random.default_rng(seed)
    runs = []
    for a, b in zip(ours, theirs, strict=True):
        if len(a.values) != len(b.values):
            raise ValueError(f"samples of {len(a.values)} and {len(b.values)} triggers differ")
        runs.append(np.stack([a.values, a.weights, b.values, b.weights], axis=1))
    point = float(np.mean([_ratios(np.ones((1, len(run))), run)[0] for run in runs]))
    found = np.zeros(resamples)
    for start in range(0, resamples, BLOCK):
        count = min(BLOCK, resamples - start)
        times = None
        for run in runs:
            if times is None or not same_triggers:
                size = len(run)
                times = draw.multinomial(size, np.full(size, 1 / size), count).astype(np.float64)
            found[start:start + count] += _ratios(times, run) / len(runs)
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"difference": point, "low": float(low), "high": float(high)}


def _ratios(times_SxR: np.ndarray, run_Rx4: np.ndarray) -> np.ndarray:
    sums = times_SxR @ run_Rx4
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
