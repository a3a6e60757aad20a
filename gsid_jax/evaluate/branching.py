"""IDs of a clustering at the branching of other IDs (method.md 6.5).

Agreement falls as branching grows, so IDs are compared at the same joint perplexity
exp H(z_1..z_t) of every level. The number of clusters that reaches it is searched level by level.
"""

from collections.abc import Callable, Sequence

import numpy as np

from gsid_jax.evaluate import codes, quantizers
from gsid_jax.evaluate.quantizers import Quantized

TOLERANCE = 0.02  # relative error of the joint perplexity that ends the search
MAX_TRIALS = 7


def joint_perplexities(codes_NxT: np.ndarray, nested: bool = True) -> list[float]:
    """exp H of the first j codes, for j = 1..T."""
    return [health["joint_perplexity"] for health in codes.code_health(codes_NxT, nested).values()]


def perplexity(labels: np.ndarray) -> float:
    """exp of the entropy of int labels [N]."""
    return joint_perplexities(labels[:, None])[0]


def search(target: float, guess: float, most: float, trial: Callable[[float], tuple[float, object]],
           whole: bool = False):
    """Finds the size whose perplexity is closest to ``target``.

    trial(size) returns (perplexity, result). Returns (size, result) of the best trial. whole: only
    whole numbers are tried. Perplexity grows with size, nearly in proportion: each trial scales
    the last, inside the bracket of those before.
    """
    low, high = 1.0, most
    size = float(np.clip(round(guess) if whole else guess, low, high))
    best, tried = None, set()
    for _ in range(MAX_TRIALS):
        tried.add(size)
        reached, result = trial(size)
        error = abs(np.log(reached / target))
        if best is None or error < best[0]:
            best = (error, size, result)
        if error < TOLERANCE:
            break
        if reached < target:
            low = size
        else:
            high = size
        size = size * target / reached
        if not low < size < high:
            size = (low + high) / 2
        if whole:
            size = float(round(size))
        if size in tried:
            break
    return best[1], best[2]


def hierarchical(item_NxD: np.ndarray, query_QxD: np.ndarray, targets: Sequence[float],
                 seed: int = 0) -> Quantized:
    """Hierarchical k-means whose first t levels have the joint perplexity ``targets[t]``."""
    node_N, node_Q = np.zeros(len(item_NxD), np.int64), np.zeros(len(query_QxD), np.int64)
    levels, sizes, before = [], [], 1.0
    for level, target in enumerate(targets):
        def trial(children):
            item, query = quantizers.child_level(item_NxD, query_QxD, node_N, node_Q, children,
                                                 seed + level)
            nodes = quantizers.joint(node_N, item, node_Q, query)
            return perplexity(nodes[0]), (item, query, nodes)
        size, (item, query, (node_N, node_Q)) = search(
            target, 1.15 * target / before, float(len(item_NxD)), trial)
        levels.append((item, query))
        sizes.append(size)
        before = target
    return quantizers.stack(levels, sizes)


def residual(item_NxD: np.ndarray, query_QxD: np.ndarray, targets: Sequence[float],
             seed: int = 0) -> Quantized:
    """Residual k-means whose first t levels have the joint perplexity ``targets[t]``."""
    node_N = np.zeros(len(item_NxD), np.int64)
    levels, sizes, before = [], [], 1.0
    for level, target in enumerate(targets):
        def trial(clusters):
            item, query, item_rest, query_rest = quantizers.residual_level(
                item_NxD, query_QxD, round(clusters), seed + level)
            nodes, _ = quantizers.joint(node_N, item, node_N, item)
            return perplexity(nodes), (item, query, item_rest, query_rest, nodes)
        size, (item, query, item_NxD, query_QxD, node_N) = search(
            target, 1.3 * target / before, float(len(item_NxD)), trial, whole=True)
        levels.append((item, query))
        sizes.append(size)
        before = target
    return quantizers.stack(levels, sizes)


def flat(item_NxD: np.ndarray, query_QxD: np.ndarray, targets: Sequence[float],
         seed: int = 0) -> Quantized:
    """One flat k-means for each joint perplexity of ``targets``: the hardest to beat."""
    levels, sizes = [], []
    for level, target in enumerate(targets):
        def trial(clusters):
            labels = quantizers.flat_level(item_NxD, query_QxD, round(clusters), seed + level)
            return perplexity(labels[0]), labels
        size, labels = search(target, 1.2 * target, float(len(item_NxD)), trial, whole=True)
        levels.append(labels)
        sizes.append(size)
    return quantizers.stack(levels, sizes, nested=False)
