"""Re-treeing (M10 c): flat k-means of vectors, its centroids merged bottom-up into K-ary levels.

Plain functions over arrays, shared by GSID and the dense baselines. SciPy merges by Ward's
criterion: one dendrogram, cut once for each level. Levels too large for a dendrogram are merged by
k-means of their centroids. The k-means is ours because the pipeline's default needs it, and faiss
is an extra.
Dims: N items, M leaves, T levels, K the most children a node may have, D width.
"""

from collections.abc import Sequence

import numpy as np
import scipy.cluster.hierarchy
import scipy.sparse

from gsid_jax.errors import UserError

ITERATIONS = 25
CHUNK_ROWS = 4096
DENDROGRAM_NODES = 8192  # memory grows with their square: 270 MB


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
    label_N, centre = kmeans(x_NxD, sizes[-1], np.ones(len(x_NxD), np.float32), seed)
    labels, above = [label_N], list(sizes[:-1])
    weight = np.bincount(label_N, minlength=len(centre)).astype(np.float32)
    while above and len(centre) > DENDROGRAM_NODES:
        _, centres = kmeans(centre, above.pop(), weight, seed)
        parent = _seated(centre, centres, np.argmax(centre @ centres.T, axis=1), size)
        parent, centre, weight = _united(parent, centre, weight)
        labels.insert(0, parent[labels[0]])
    if above:
        dendrogram = scipy.cluster.hierarchy.linkage(centre, "ward")
        cuts = [scipy.cluster.hierarchy.fcluster(dendrogram, nodes, "maxclust") for nodes in above]
        node_of = np.arange(len(centre))  # of the level below, for each of the dendrogram's leaves
        for cut in reversed(cuts):
            first = np.unique(node_of, return_index=True)[1]
            parent = np.unique(cut[first], return_inverse=True)[1]
            centres = _united(parent, centre, weight)[1]
            parent = _seated(centre, centres, parent, size)
            parent, centre, weight = _united(parent, centre, weight)
            labels.insert(0, parent[labels[0]])
            node_of = parent[node_of]
    return _numbered(np.stack(labels, axis=1))


def kmeans(x_NxD: np.ndarray, clusters: int, weights_N: np.ndarray, seed: int
            ) -> tuple[np.ndarray, np.ndarray]:
    """Spherical k-means: label int64 [N] of each row, unit centres float32 [clusters, D].

    Starts from random rows. An empty cluster starts again on the row furthest from its centre.
    """
    if clusters >= len(x_NxD):
        return np.arange(len(x_NxD)), x_NxD
    picks = np.random.default_rng(seed).choice(len(x_NxD), clusters, replace=False)
    centres = x_NxD[np.sort(picks)]
    rows = np.arange(len(x_NxD))
    for _ in range(ITERATIONS):
        label_N, close_N = _nearest(x_NxD, centres)
        sums = scipy.sparse.csr_matrix((weights_N, (label_N, rows)), (clusters, len(rows))) @ x_NxD
        empty = np.flatnonzero(np.bincount(label_N, minlength=clusters) == 0)
        sums[empty] = x_NxD[np.argsort(close_N, kind="stable")[:len(empty)]]
        centres = (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
                   ).astype(np.float32)
    return _nearest(x_NxD, centres)[0], centres


def _nearest(x_NxD: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centre of the largest dot product for each row, int64 [N], and that product."""
    label, close = np.empty(len(x_NxD), np.int64), np.empty(len(x_NxD), np.float32)
    for start in range(0, len(x_NxD), CHUNK_ROWS):
        products = x_NxD[start:start + CHUNK_ROWS] @ centres.T
        label[start:start + CHUNK_ROWS] = products.argmax(axis=1)
        close[start:start + CHUNK_ROWS] = products.max(axis=1)
    return label, close


def _seated(centre_MxD: np.ndarray, parents_PxD: np.ndarray, parent_M: np.ndarray, size: int
            ) -> np.ndarray:
    """Parent of each node with at most `size` children to a parent, int64 [M].

    Of too many children the closest stay; the others go to the closest parent with room.
    """
    parent = np.array(parent_M, np.int64)
    children = np.bincount(parent, minlength=len(parents_PxD))
    close = np.einsum("md,md->m", centre_MxD, parents_PxD[parent])
    leaving = []
    for full in np.flatnonzero(children > size):
        nodes = np.flatnonzero(parent == full)
        leaving.extend(nodes[np.argsort(-close[nodes], kind="stable")][size:])
    for node in leaving:
        children[parent[node]] -= 1
        ranked = np.argsort(-(parents_PxD @ centre_MxD[node]), kind="stable")
        parent[node] = next(p for p in ranked if children[p] < size)
        children[parent[node]] += 1
    return parent


def _united(parent_M: np.ndarray, centre_MxD: np.ndarray, weight_M: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes united: parents numbered without gaps [M], their unit centres [P, D], weights [P]."""
    used, parent = np.unique(parent_M, return_inverse=True)
    total = np.zeros((len(used), centre_MxD.shape[1]), np.float32)
    np.add.at(total, parent, centre_MxD * weight_M[:, None])
    centres = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
    return parent, centres, np.bincount(parent, weight_M, len(used)).astype(np.float32)


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
