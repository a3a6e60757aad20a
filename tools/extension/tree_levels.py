"""The last level of a tree grown anew inside published prefixes.

Plain functions over arrays. Dims: N items, C codes of a published prefix, D width, K codes.
"""

from collections.abc import Sequence

import numpy as np

from gsid_jax import retree
from tools.extension import relabel


def split(vectors_NxD: np.ndarray, groups: Sequence[np.ndarray], children: Sequence[int], size: int,
          seed: int) -> np.ndarray:
    """A code for each item by spherical k-means within its prefix, int32 [N], the largest first.

    Args:
      vectors_NxD: float32, unit rows.
      groups: rows of the items of each prefix (`prefix_groups`).
      children: how many codes each of them gets.
      size: K, the most codes a prefix can have.
      seed: of the k-means.
    """
    codes = np.zeros(len(vectors_NxD), np.int32)
    for rows, wanted in zip(groups, children):
        x = np.ascontiguousarray(vectors_NxD[rows], np.float32)
        wanted = min(int(wanted), size, len(rows))
        label, _ = retree.kmeans(x, wanted, np.ones(len(rows), np.float32), seed)
        found, label, count = np.unique(label, return_inverse=True, return_counts=True)
        rank = np.empty(len(found), np.int32)
        rank[np.argsort(-count, kind="stable")] = np.arange(len(found))
        codes[rows] = rank[label]
    return codes


def prefix_groups(prefix_NxC: np.ndarray) -> list[np.ndarray]:
    """Rows of the items of each distinct prefix, in the order of `np.unique`."""
    if not prefix_NxC.shape[1]:
        return [np.arange(len(prefix_NxC))]
    found, label = np.unique(prefix_NxC, axis=0, return_inverse=True)
    order = np.argsort(label.ravel(), kind="stable")
    bounds = np.searchsorted(label.ravel()[order], np.arange(len(found) + 1))
    return [order[low:high] for low, high in zip(bounds, bounds[1:])]


def even_children(groups: Sequence[np.ndarray], branching: float) -> np.ndarray:
    """Codes for each group so that all hold about equally many items, int [P].

    branching: the mean number of codes of a prefix.
    """
    sizes = np.array([len(rows) for rows in groups])
    return np.maximum(1, np.round(sizes * branching * len(sizes) / sizes.sum())).astype(int)


def matched(old_N: np.ndarray, new_N: np.ndarray, groups: Sequence[np.ndarray], size: int
            ) -> np.ndarray:
    """New codes renumbered inside each group to keep most items' old ones, int32 [N].

    old_N: int [N], -1 for items without a published code.
    """
    codes = np.array(new_N, np.int32)
    for rows in groups:
        known = rows[old_N[rows] >= 0]
        if len(known):
            number = relabel.best_matching(old_N[known], new_N[known], size)
            codes[rows] = number[new_N[rows]]
    return codes
