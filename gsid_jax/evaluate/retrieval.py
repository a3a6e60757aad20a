"""Exact retrieval by dot product, Recall@k and MRR@k (paper appendix A, method.md section 5)."""

from collections.abc import Sequence

import numpy as np

from gsid_jax.evaluate.lists import Lists

TRIGGER_CHUNK = 512
CANDIDATE_CHUNK = 4096
PAIR_CHUNK = 65536
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

    A float32 product with a bound on its error picks the candidates; theirs are summed again in
    float64 and rounded to float32, so that equal vectors tie wherever they stand in the pool. Score
    and tie rank are packed into one integer, which makes each choice of the best exact and unique.
    Memory beyond the inputs: about 150 MB plus 12 bytes for each place returned, whatever R and N.
    """
    num_items = len(pool_NxD)
    if tie_rank_N is None:
        tie_rank_N = np.arange(num_items)
    tie_rank_N = np.asarray(tie_rank_N)
    items = np.full((len(trigger_RxD), k), NONE, np.int64)
    scores = np.full((len(trigger_RxD), k), -np.inf, np.float32)
    reach = _largest_norm(pool_NxD) * pool_NxD.shape[1] * np.finfo(np.float32).eps
    for start in range(0, len(trigger_RxD), TRIGGER_CHUNK):
        stop = min(start + TRIGGER_CHUNK, len(trigger_RxD))
        trigger = np.asarray(trigger_RxD[start:stop], np.float32)
        margin = (reach * np.linalg.norm(trigger, axis=1) + np.finfo(np.float32).tiny)[:, None]
        best = Best(stop - start, k, tie_rank_N)
        barred = excluded.slice(start, stop) if excluded is not None else None
        for low in range(0, num_items, CANDIDATE_CHUNK):
            pool = np.asarray(pool_NxD[low:low + CANDIDATE_CHUNK], np.float32)
            rough = trigger @ pool.T
            if barred is not None:
                inside = (barred.values >= low) & (barred.values < low + len(pool))
                rough[barred.rows[inside], barred.values[inside] - low] = -np.inf
            floor = best.floor()[:, None]
            if len(pool) > k and not np.isfinite(floor).all():  # the first chunk sets a floor
                floor = np.maximum(floor, np.partition(rough, -k, axis=1)[:, [-k]] - margin)
            rows, columns = np.nonzero(rough >= floor - margin)
            allowed = rough[rows, columns] > -np.inf
            rows, columns = rows[allowed], columns[allowed]
            best.add(rows, low + columns, _products(trigger, pool, rows, columns))
        items[start:stop], scores[start:stop] = best.ranking()
    return items, scores


def _largest_norm(pool_NxD: np.ndarray) -> float:
    return max((float(np.linalg.norm(np.asarray(pool_NxD[low:low + CANDIDATE_CHUNK], np.float32),
                                     axis=1).max(initial=0))
                for low in range(0, len(pool_NxD), CANDIDATE_CHUNK)), default=0.0)


def _products(a_RxD: np.ndarray, b_NxD: np.ndarray, rows: np.ndarray,
              columns: np.ndarray) -> np.ndarray:
    """Dot products of the pairs (row of a, row of b), summed in float64; float32 [pairs]."""
    products = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), PAIR_CHUNK):
        part = slice(start, start + PAIR_CHUNK)
        products[part] = np.einsum("pd,pd->p", a_RxD[rows[part]].astype(np.float64),
                                   b_NxD[columns[part]].astype(np.float64))
    return products


class Best:
    """The k best items of each trigger so far; equal scores go by tie rank, the smaller first."""

    def __init__(self, triggers: int, k: int, tie_rank_N: np.ndarray):
        self._key = np.zeros((triggers, k), np.uint64)
        self._tie_rank = tie_rank_N

    def floor(self) -> np.ndarray:
        """The lowest score that still counts, float32 [triggers]; -inf before k are known."""
        lowest = self._key.min(axis=1)
        return np.where(lowest > 0, _unpack_score(lowest), -np.inf).astype(np.float32)

    def add(self, rows: np.ndarray, items: np.ndarray, scores: np.ndarray) -> None:
        """Offers int [pairs] (trigger, item), by trigger, with float32 scores."""
        counts = np.bincount(rows, minlength=len(self._key))
        if not counts.any():
            return
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        new = np.zeros((len(self._key), counts.max()), np.uint64)
        last = np.uint64(len(self._tie_rank) - 1)
        new[rows, place] = _pack(scores, last - self._tie_rank[items].astype(np.uint64))
        k = self._key.shape[1]
        key = np.concatenate([self._key, new], axis=1)
        key.partition(key.shape[1] - k, axis=1)
        self._key = key[:, -k:]

    def ranking(self) -> tuple[np.ndarray, np.ndarray]:
        """(items int64 [triggers, k], scores float32), best first; -1 and -inf where empty."""
        key = np.sort(self._key, axis=1)[:, ::-1]
        filled = key > 0
        item_of_rank = np.empty(len(self._tie_rank), np.int64)
        item_of_rank[self._tie_rank] = np.arange(len(self._tie_rank))
        rank = len(self._tie_rank) - 1 - (key & np.uint64(0xFFFFFFFF)).astype(np.int64)
        return (np.where(filled, item_of_rank[rank], NONE),
                np.where(filled, _unpack_score(key), -np.inf).astype(np.float32))


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
