"""IDs made from vectors by clustering (paper Table 3: hierarchical clustering of a dense encoder).

Dims: N items, Q queries, D width, T levels. Every quantiser is fitted on items and reads queries
with the same centroids. All are seeded; faiss does the k-means.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gsid_jax.errors import UserError

ITERATIONS = 25
POINTS_PER_CENTROID = 256  # faiss samples this many for training


@dataclasses.dataclass(frozen=True)
class Quantized:
    """IDs of both sides. sizes: codes per level, on average where nodes differ."""

    item_codes: np.ndarray  # int32 [N, T]
    query_codes: np.ndarray  # int32 [Q, T]
    sizes: tuple[float, ...]
    nested: bool = True


def kmeans(x_NxD: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Centroids float32 [min(clusters, N), D] by k-means (Euclidean) with faiss."""
    if clusters >= len(x_NxD):
        return np.ascontiguousarray(x_NxD)
    if clusters == 1:
        return x_NxD.mean(axis=0, keepdims=True)
    try:
        import faiss
    except ImportError as error:
        raise UserError("k-means IDs need faiss, which is not installed; expected the evaluation "
                        "extra: pip install 'gsid_jax[eval]'") from error
    means = faiss.Kmeans(x_NxD.shape[1], clusters, niter=ITERATIONS, seed=seed + 1,
                         min_points_per_centroid=1,
                         max_points_per_centroid=POINTS_PER_CENTROID)
    means.train(np.ascontiguousarray(x_NxD))
    return means.centroids.copy()


def nearest(x_NxD: np.ndarray, centroid_KxD: np.ndarray, chunk: int = 8192) -> np.ndarray:
    """Index of the nearest centroid of each row, int32 [N]; of equal ones the first."""
    half = 0.5 * np.sum(centroid_KxD ** 2, axis=1)
    label = np.empty(len(x_NxD), np.int32)
    for start in range(0, len(x_NxD), chunk):
        part = x_NxD[start:start + chunk]
        label[start:start + chunk] = np.argmax(part @ centroid_KxD.T - half, axis=1)
    return label


def flat_level(item_NxD: np.ndarray, query_QxD: np.ndarray, clusters: int, seed: int
               ) -> tuple[np.ndarray, np.ndarray]:
    """Labels of items [N] and queries [Q] by one k-means, int32."""
    centroids = kmeans(item_NxD, clusters, seed)
    return nearest(item_NxD, centroids), nearest(query_QxD, centroids)


def residual_level(item_NxD: np.ndarray, query_QxD: np.ndarray, clusters: int, seed: int
                   ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels of both sides by one k-means of residuals, and what remains of each vector."""
    centroids = kmeans(item_NxD, clusters, seed)
    item, query = nearest(item_NxD, centroids), nearest(query_QxD, centroids)
    return item, query, item_NxD - centroids[item], query_QxD - centroids[query]


def child_level(item_NxD: np.ndarray, query_QxD: np.ndarray, node_N: np.ndarray,
                node_Q: np.ndarray, children: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both sides below their node (int [N], [Q]) by a k-means of each node's items.

    ``children`` may be fractional: the larger nodes get one more than the smaller, so that the
    mean is as asked. A query in a node without items gets code 0.
    """
    item, query = np.zeros(len(node_N), np.int32), np.zeros(len(node_Q), np.int32)
    order_N, order_Q = np.argsort(node_N, kind="stable"), np.argsort(node_Q, kind="stable")
    nodes, first, sizes = np.unique(node_N[order_N], return_index=True, return_counts=True)
    low = np.searchsorted(node_Q[order_Q], nodes, side="left")
    high = np.searchsorted(node_Q[order_Q], nodes, side="right")
    extra = np.zeros(len(nodes), bool)
    extra[np.argsort(-sizes, kind="stable")[:round((children - int(children)) * len(nodes))]] = True
    for i, node in enumerate(nodes):
        rows = order_N[first[i]:first[i] + sizes[i]]
        asked = order_Q[low[i]:high[i]]
        centroids = kmeans(item_NxD[rows], int(children) + int(extra[i]), seed + int(node))
        item[rows] = nearest(item_NxD[rows], centroids)
        if len(asked):
            query[asked] = nearest(query_QxD[asked], centroids)
    return item, query


def hierarchical(item_NxD: np.ndarray, query_QxD: np.ndarray, sizes: Sequence[float],
                 seed: int = 0) -> Quantized:
    """k-means, then k-means inside each cluster, and so on."""
    node_N, node_Q = np.zeros(len(item_NxD), np.int64), np.zeros(len(query_QxD), np.int64)
    levels = []
    for level, children in enumerate(sizes):
        item, query = child_level(item_NxD, query_QxD, node_N, node_Q, children, seed + level)
        levels.append((item, query))
        node_N, node_Q = joint(node_N, item, node_Q, query)
    return stack(levels, sizes)


def residual(item_NxD: np.ndarray, query_QxD: np.ndarray, sizes: Sequence[float],
             seed: int = 0) -> Quantized:
    """k-means of the vectors, then of what remains after subtracting the centroid, and so on."""
    levels = []
    for level, clusters in enumerate(sizes):
        item, query, item_NxD, query_QxD = residual_level(item_NxD, query_QxD, round(clusters),
                                                          seed + level)
        levels.append((item, query))
    return stack(levels, sizes)


def flat(item_NxD: np.ndarray, query_QxD: np.ndarray, sizes: Sequence[float],
         seed: int = 0) -> Quantized:
    """An independent k-means for each level: no tree, but the best clusters at each size."""
    levels = [flat_level(item_NxD, query_QxD, round(clusters), seed + level)
              for level, clusters in enumerate(sizes)]
    return stack(levels, sizes, nested=False)


def joint(node_N: np.ndarray, code_N: np.ndarray, node_Q: np.ndarray, code_Q: np.ndarray
          ) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the distinct (node, code) of the two sides alike; int64 [N], [Q]."""
    width = int(max(code_N.max(initial=0), code_Q.max(initial=0))) + 1
    both = np.concatenate([node_N * width + code_N, node_Q * width + code_Q])
    label = np.unique(both, return_inverse=True)[1]
    return label[:len(node_N)], label[len(node_N):]


def stack(levels: Sequence[tuple[np.ndarray, np.ndarray]], sizes: Sequence[float],
           nested: bool = True) -> Quantized:
    """Joins the labels (items, queries) of each level."""
    return Quantized(np.stack([item for item, _ in levels], axis=1),
                     np.stack([query for _, query in levels], axis=1),
                     tuple(float(size) for size in sizes), nested)
