"""A dense encoder with M10's tree and marginals: the strongest IDs made from vectors alone.

Items go to the leaves of a tree grown from their vectors plus half the mean of their training
queries; queries are looked up by leaf marginals, code by code.
"""

from collections.abc import Sequence

import numpy as np

from gsid_jax import leaf_marginals, query_aware, retree
from gsid_jax.evaluate import branching
from gsid_jax.evaluate.quantizers import Quantized
from gsid_jax.leaf_marginals import unit

TRIALS = 4
TOLERANCE = 0.02


def quantize(item_NxD: np.ndarray, query_QxD: np.ndarray, pairs_Px2: np.ndarray,
             weights_P: np.ndarray, targets: Sequence[float], size: int,
             seed: int = 0) -> Quantized:
    """IDs at the joint perplexities ``targets`` of each level, at most ``size`` codes a node.

    pairs: training (query, item) indices with their weights; their queries must have vectors.
    """
    item_NxD, query_QxD = unit(item_NxD), unit(query_QxD)
    shares = query_aware.query_weights(pairs_Px2[:, 0], pairs_Px2[:, 1], weights_P, len(item_NxD))
    blended = query_aware.blend_vectors(item_NxD, query_QxD, shares)
    wanted = np.asarray(targets, float) * 1.2
    best = None
    for _ in range(TRIALS):
        sizes = _fitting(wanted, size, len(item_NxD))
        codes = retree.grow_tree(blended, sizes, size, seed)
        reached = np.array(branching.joint_perplexities(codes))
        error = float(np.abs(np.log(reached / targets)).max())
        if best is None or error < best[0]:
            best = (error, codes, sizes)
        if error < TOLERANCE:
            break
        wanted = wanted * np.asarray(targets) / reached
    _, codes, sizes = best
    leaves = leaf_marginals.grow(codes, item_NxD)
    queries, _ = leaf_marginals.lookup(query_QxD, leaves, size)
    per_level = np.asarray(sizes) / np.asarray([1, *sizes[:-1]])
    return Quantized(codes, queries, tuple(per_level.tolist()))


def _fitting(wanted: np.ndarray, size: int, items: int) -> list[int]:
    """Whole numbers of nodes near ``wanted``, growing by at most ``size`` a level."""
    sizes, above = [], 1
    for nodes in wanted:
        above = int(np.clip(round(nodes), above, min(above * size, items)))
        sizes.append(above)
    return sizes
