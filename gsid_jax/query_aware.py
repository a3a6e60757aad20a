"""Query-aware item IDs (M10 a): an item's code distribution averaged with its training queries'.

Plain functions over arrays, shared by GSID and the dense baselines.
Dims: N items, Q queries, P training pairs, K codes, D width.
"""

import dataclasses

import numpy as np
import scipy.sparse


@dataclasses.dataclass(frozen=True)
class QueryWeights:
    """Training pairs with the share that each query has in its item's mean.

    query, item: int64 [P] indices. share: float32 [P]; sums to 1 for each item with queries.
    """

    query: np.ndarray
    item: np.ndarray
    share: np.ndarray

    def mean(self, rows_PxX: np.ndarray, num_items: int) -> np.ndarray:
        """Mean over each item's queries of one row a pair, float32 [N, X]; 0 without queries."""
        pairs = np.arange(len(self.item))
        mean = scipy.sparse.csr_matrix((self.share, (self.item, pairs)), (num_items, len(pairs)))
        return np.asarray(mean @ np.asarray(rows_PxX, np.float32))

    def has_queries(self, num_items: int) -> np.ndarray:
        """Which items have training queries, bool [N]."""
        return np.bincount(self.item, minlength=num_items) > 0


def query_weights(query_P: np.ndarray, item_P: np.ndarray, weight_P: np.ndarray,
                  num_items: int, alpha: float = 0.5) -> QueryWeights:
    """Shares by weight^alpha, as training draws its queries (tasks.query_item)."""
    raised = np.asarray(weight_P, np.float64) ** alpha
    total = np.bincount(item_P, raised, num_items)
    return QueryWeights(np.asarray(query_P), np.asarray(item_P),
                        (raised / np.maximum(total[item_P], 1e-12)).astype(np.float32))


def blend_probs(item_NxK: np.ndarray, query_PxK: np.ndarray, weights: QueryWeights,
                query_share: float = 0.5) -> np.ndarray:
    """Code distributions of the items, averaged with those of their queries, float32 [N, K].

    query_PxK: one distribution a pair, decoded after the *item's* prefix. An item without training
    queries keeps its own.
    """
    mean = weights.mean(query_PxK, len(item_NxK))
    share = np.where(weights.has_queries(len(item_NxK)), query_share, 0.0)[:, None]
    return ((1 - share) * item_NxK + share * mean).astype(np.float32)


def blend_vectors(item_NxD: np.ndarray, query_QxD: np.ndarray, weights: QueryWeights,
                  query_weight: float = 0.5) -> np.ndarray:
    """Unit vectors of the items plus `query_weight` times the mean of their queries, [N, D]."""
    mean = weights.mean(query_QxD[weights.query], len(item_NxD))
    blended = item_NxD + query_weight * mean
    return blended / np.maximum(np.linalg.norm(blended, axis=1, keepdims=True), 1e-9)
