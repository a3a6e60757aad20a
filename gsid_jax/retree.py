"""Re-treeing (M10 c): flat k-means of vectors, its centroids merged bottom-up into K-ary levels.

Plain functions over arrays, shared by GSID and the dense baselines. faiss does the k-means; it is
imported when a tree is grown.
Dims: N items, M leaves, T levels, K the most children a node may have, D width.
"""

from collections.abc import Sequence

import numpy as np

from gsid_jax.errors import UserError

ITERATIONS = 25


def level_sizes(leaves: int, num_levels: int, size: int) -> list[int]:
    """Nodes of each level for a tree with `leaves` leaves: K at the top, then even branching."""
    if leaves > size**num_levels:
        raise UserError(f"{leaves:,} leaves do not fit into {num_levels} levels of {size} codes "
                        f"({size**num_levels:,} IDs); ask for fewer leaves")
    first = min(size, leaves)
    growth = (leaves / first) ** (1 / max(num_levels - 1, 1))
    sizes = [min(round(first * growth**level), leaves) for level in range(num_levels)]
    sizes[-1] = leaves if num_levels > 1 else first
    for level in range(num_levels - 2, -1, -1):  # so many parents that none has over K children
        sizes[level] = max(sizes[level], -(-sizes[level + 1] // size))
    return sizes


def grow_tree(vectors_NxD: np.ndarray, sizes: Sequence[int], size: int, seed: int = 0
              ) -> np.ndarray:
    """IDs of the rows, int32 [N, T], from unit vectors: the last level is flat k-means.

    Args:
      vectors_NxD: float, unit rows.
      sizes: nodes of each level, first to last (`level_sizes`, or those of other IDs to compare
        with at matched branching).
      size: K, the most children of a node.
      seed: of the k-means; equal input and seed give equal IDs.

    Children are numbered by size, the largest first. Raises UserError if the levels do not fit.
    """
    x_NxD = np.ascontiguousarray(vectors_NxD, np.float32)
    for level, (above, here) in enumerate(zip([1, *sizes], sizes)):
        if not 1 <= here <= above * size:
            raise UserError(f"level {level + 1} of a tree was asked for {here} nodes; expected 1 to "
                            f"{above * size}, {size} for each of the {above} above")
    if sizes[-1] > len(x_NxD):
        raise UserError(f"a tree was asked for {sizes[-1]} leaves from {len(x_NxD)} items; expected "
                        "no more leaves than items: lower their number")
    label_N, centre = _kmeans(x_NxD, sizes[-1], np.ones(len(x_NxD), np.float32), seed)
    labels = [label_N]
    weight = np.bincount(label_N, minlength=len(centre)).astype(np.float32)
    for nodes in reversed(sizes[:-1]):
        parent, centre = _merge(centre, weight, nodes, size, seed)
        weight = np.bincount(parent, weight, len(centre)).astype(np.float32)
        labels.insert(0, parent[labels[0]])
    return _numbered(np.stack(labels, axis=1))


def _kmeans(x_NxD: np.ndarray, clusters: int, weights_N: np.ndarray, seed: int
            ) -> tuple[np.ndarray, np.ndarray]:
    """Spherical k-means: label int64 [N] of each row, centres float32 [clusters, D]."""
    try:
        import faiss
    except ImportError as error:
        raise UserError("re-treeing needs faiss; install it with pip install 'gsid_jax[eval]', or "
                        "set pipeline.Pipeline.assignment = 'greedy'") from error
    if clusters >= len(x_NxD):
        return np.arange(len(x_NxD)), x_NxD
    means = faiss.Kmeans(x_NxD.shape[1], clusters, niter=ITERATIONS, seed=seed + 1, spherical=True,
                         min_points_per_centroid=1, max_points_per_centroid=1 << 20)
    means.train(x_NxD, weights=np.ascontiguousarray(weights_N, np.float32))
    label_N = means.index.search(x_NxD, 1)[1][:, 0]
    return label_N, np.asarray(means.centroids, np.float32)


def _merge(centre_MxD: np.ndarray, weight_M: np.ndarray, nodes: int, size: int, seed: int
           ) -> tuple[np.ndarray, np.ndarray]:
    """Parent int64 [M] of each node, at most `size` children each, and the parents' centres.

    k-means, then the surest first: a node whose parent is full takes its next best.
    """
    _, parents = _kmeans(centre_MxD, nodes, weight_M, seed)
    close_MxP = centre_MxD @ parents.T
    parent = np.full(len(centre_MxD), -1)
    free = np.full(len(parents), size)
    ranked = np.argsort(-close_MxP, axis=1, kind="stable")
    for node in np.argsort(-close_MxP.max(axis=1), kind="stable"):
        best = next(p for p in ranked[node] if free[p])
        parent[node] = best
        free[best] -= 1
    used, parent = np.unique(parent, return_inverse=True)
    total = np.zeros((len(used), centre_MxD.shape[1]), np.float32)
    np.add.at(total, parent, centre_MxD * weight_M[:, None])
    return parent, total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def _numbered(labels_NxT: np.ndarray) -> np.ndarray:
    """Node labels as codes: each node's children numbered from 0, the largest first."""
    codes = np.zeros(labels_NxT.shape, np.int32)
    parent_N = np.zeros(len(labels_NxT), np.int64)
    for level in range(labels_NxT.shape[1]):
        nodes, node_N, count = np.unique(labels_NxT[:, level], return_inverse=True,
                                         return_counts=True)
        parent = np.zeros(len(nodes), np.int64)
        parent[node_N] = parent_N
        order = np.lexsort((nodes, -count, parent))
        first = np.searchsorted(parent[order], parent[order])
        rank = np.empty(len(nodes), np.int32)
        rank[order] = np.arange(len(nodes)) - first
        codes[:, level] = rank[node_N]
        parent_N = node_N
    return codes
