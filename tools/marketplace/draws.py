"""Counter-based random numbers, so that any chunking of the items gives the same bytes."""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(x):
    """SplitMix64 finaliser, elementwise on uint64 arrays (wraps around by design)."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, stream: int, ids: np.ndarray, width: int = 1) -> np.ndarray:
    """Independent uniform numbers in [0, 1) for every id, a function of (seed, stream, id) only.

    Args:
      seed: the seed of the simulation.
      stream: a small number that names the use, so that two uses are independent.
      ids: int64 [n], the items (or users, SPUs, leaves) that draw.
      width: draws per id.

    Returns:
      float64 [n, width].
    """
    one = np.uint64(1)
    start = np.array([[seed], [stream]], np.uint64) + one
    key = _mix(_mix(start[0] * _GOLDEN) + start[1] * _MIX_2)
    base = _mix(ids.astype(np.uint64) * _GOLDEN + key)
    counter = (np.arange(width, dtype=np.uint64) + one) * _GOLDEN
    bits = _mix(base[:, None] + counter[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def pick(options, u: float, power: float = 1.0):
    """One of `options` for a draw u in [0, 1); power > 1 prefers the first ones."""
    return options[int(len(options) * u**power)]
