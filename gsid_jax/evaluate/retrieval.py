"""Exact retrieval by dot product, Recall@k and MRR@k (paper appendix A, method.md section 5)."""

from collections.abc import Sequence

import numpy as np

from gsid_jax.evaluate.lists import Lists

TRIGGER_CHUNK = 512
CANDIDATE_CHUNK = 4096
NONE = -1  # an empty place in a ranking: fewer candidates than k


def top_k(trigger_RxD: np.ndarray, pool_NxD: np.ndarray, k: int,
          tie_rank_N: np.ndarray | None = None,
          excluded: Lists | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Ranks the whole pool for each trigger by dot product and returns the best k.

    Args:
      trigger_RxD: float [R, D], one row per query or item that searches.
      pool_NxD: float [N, D], the candidates (may be memory-mapped); N < 2**32.
      k: length of the rankings.
      tie_rank_N: int [N], a permutation of 0..N-1: of equal scores the smaller comes first.
        Default: the row number.
      excluded: for each trigger the rows of the pool that it must not be given.

    Returns:
      (items int64 [R, k], scores float32 [R, k]); places beyond the last candidate hold -1, -inf.

    Products are summed in float64 and rounded to float32, so that equal vectors tie wherever they
    stand in the pool. Score and tie rank are packed into one integer, which makes each choice of
    the best exact and unique. Memory beyond the inputs: about 100 MB plus 12 bytes for each place
    returned, whatever R and N.
    """
    num_items = len(pool_NxD)
    if tie_rank_N is None:
        tie_rank_N = np.arange(num_items)
    item_of_rank = np.empty(num_items, np.int64)
    item_of_rank[tie_rank_N] = np.arange(num_items)
    reversed_rank = (num_items - 1 - np.asarray(tie_rank_N)).astype(np.uint64)
    items = np.full((len(trigger_RxD), k), NONE, np.int64)
    scores = np.full((len(trigger_RxD), k), -np.inf, np.float32)
    for start in range(0, len(trigger_RxD), TRIGGER_CHUNK):
        stop = min(start + TRIGGER_CHUNK, len(trigger_RxD))
        best = np.zeros((stop - start, k), np.uint64)
        trigger = np.asarray(trigger_RxD[start:stop], np.float64)
        barred = excluded.slice(start, stop) if excluded is not None else None
        for low in range(0, num_items, CANDIDATE_CHUNK):
            pool = np.asarray(pool_NxD[low:low + CANDIDATE_CHUNK], np.float64)
            key = _pack(trigger @ pool.T, reversed_rank[low:low + CANDIDATE_CHUNK])
            if barred is not None:
                inside = (barred.values >= low) & (barred.values < low + len(pool))
                key[barred.rows[inside], barred.values[inside] - low] = 0
            key = np.concatenate([best, key], axis=1)
            key.partition(key.shape[1] - k, axis=1)
            best = key[:, -k:]
        best = np.sort(best, axis=1)[:, ::-1]
        filled = best > 0
        items[start:stop][filled] = item_of_rank[
            num_items - 1 - (best[filled] & np.uint64(0xFFFFFFFF)).astype(np.int64)]
        scores[start:stop][filled] = _unpack_score(best[filled])
    return items, scores


def _pack(score: np.ndarray, reversed_rank: np.ndarray) -> np.ndarray:
    """uint64 keys that order as (score, then smaller rank first); always above 0."""
    bits = (score.astype(np.float32) + np.float32(0)).view(np.uint32)  # + 0 makes -0 a plain 0
    negative = bits >> 31 == 1
    ordered = np.where(negative, ~bits, bits | np.uint32(1 << 31))
    return (ordered.astype(np.uint64) << np.uint64(32)) | reversed_rank


def _unpack_score(key: np.ndarray) -> np.ndarray:
    ordered = (key >> np.uint64(32)).astype(np.uint32)
    positive = ordered >> 31 == 1
    return np.where(positive, ordered & np.uint32((1 << 31) - 1), ~ordered).view(np.float32)


def hits(ranked_RxK: np.ndarray, relevant: Lists) -> np.ndarray:
    """Tells which places of each ranking hold a relevant item; bool [R, K]."""
    rows = np.broadcast_to(np.arange(len(ranked_RxK))[:, None], ranked_RxK.shape)
    found = relevant.contains(rows.ravel(), np.maximum(ranked_RxK, 0).ravel())
    return found.reshape(ranked_RxK.shape) & (ranked_RxK != NONE)


def recall_at(hits_RxK: np.ndarray, relevant_R: np.ndarray, k: int) -> np.ndarray:
    """Recall@k of each trigger: relevant items among the first k / relevant items; float64 [R].

    relevant_R: int [R], how many relevant items each trigger has; NaN where that is 0.
    """
    with np.errstate(invalid="ignore"):
        return hits_RxK[:, :k].sum(axis=1) / np.asarray(relevant_R, np.float64)


def reciprocal_rank_at(hits_RxK: np.ndarray, k: int) -> np.ndarray:
    """1 / rank of the first relevant item, 0 if none is among the first k; float64 [R]."""
    within = hits_RxK[:, :k]
    return np.where(within.any(axis=1), 1.0 / (1 + within.argmax(axis=1)), 0.0)


def summary(ranked_RxK: np.ndarray, relevant: Lists, recall_ks: Sequence[int] = (1, 10, 100),
            mrr_k: int = 100) -> dict[str, float]:
    """Recall@k and MRR@k, averaged over the triggers that have a relevant item.

    Raises ValueError if the rankings are shorter than the largest k or no trigger counts.
    """
    if ranked_RxK.shape[1] < max(*recall_ks, mrr_k):
        raise ValueError(f"got rankings of {ranked_RxK.shape[1]}, expected at least "
                         f"{max(*recall_ks, mrr_k)} places")
    counted = relevant.counts > 0
    if not counted.any():
        raise ValueError(f"none of {len(relevant)} triggers has a relevant item")
    hits_RxK = hits(ranked_RxK, relevant)[counted]
    counts = relevant.counts[counted]
    values = {f"recall@{k}": float(recall_at(hits_RxK, counts, k).mean()) for k in recall_ks}
    values[f"mrr@{mrr_k}"] = float(reciprocal_rank_at(hits_RxK, mrr_k).mean())
    return values
