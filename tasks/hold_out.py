"""Which items and queries are kept from training: chosen by hash, so by content and seed alone.

Ranking hashes instead of comparing them with a threshold gives exact shares, also of small data,
and the choice does not depend on the order of the file.
"""

import hashlib
from collections.abc import Sequence

import numpy as np


def choose(names: Sequence[str], share: float, seed: int, stream: str, keep: int = 1) -> np.ndarray:
    """Chooses ``share`` of the names, rounded up, but leaves at least ``keep`` unchosen.

    Args:
      names: distinct texts.
      share: 0 to 1; 0 chooses none.
      seed: another seed chooses others.
      stream: separates choices that use the same seed.

    Returns bool [len(names)].
    """
    chosen = np.zeros(len(names), bool)
    count = max(0, min(int(np.ceil(share * len(names))), len(names) - keep))
    if count:
        key = f"{seed}/{stream}".encode()
        hashes = np.fromiter((
            int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "big")
            for name in names), np.uint64, len(names))
        chosen[np.argsort(hashes, kind="stable")[:count]] = True
    return chosen


def frequency_class(weights: np.ndarray) -> np.ndarray:
    """Classes queries by their share of the traffic: 'head', 'torso' or 'tail'.

    Sorted by weight, the queries that together make the first third of the total weight are head,
    those of the second third torso, the others tail. Queries of one weight share a class, the rarer
    one where a limit falls among them, except that the heaviest are always head. Weight 0 is tail.

    Args:
      weights: float [Q], 0 or more.

    Returns str [Q].
    """
    classes = np.full(len(weights), "tail", dtype="U5")
    values, inverse, counts = np.unique(weights, return_inverse=True, return_counts=True)
    total = float((values * counts).sum())
    if total <= 0:
        return classes
    heavier = np.cumsum((values * counts)[::-1])[::-1]  # weight of all queries at least as heavy
    of_value = np.where(heavier <= total / 3, "head", np.where(heavier <= total * 2 / 3,
                                                               "torso", "tail"))
    of_value[-1] = "head"
    of_value[values <= 0] = "tail"
    return of_value[inverse]
