"""Exact top-k against a full sort; recall and MRR by hand."""

import numpy as np
import pytest

from gsid_jax.evaluate import retrieval
from gsid_jax.evaluate.lists import Lists


def brute_force(triggers, pool, k, tie_rank, excluded):
    scores = (triggers.astype(np.float64) @ pool.astype(np.float64).T).astype(np.float32)
    ranked = np.full((len(triggers), k), -1)
    for row, score in enumerate(scores):
        order = np.lexsort((tie_rank, -score))
        order = order[~np.isin(order, excluded[row])][:k]
        ranked[row, :len(order)] = order
    return ranked


@pytest.mark.parametrize("seed", range(3))
def test_top_k_equals_full_sort_with_ties_and_exclusions(seed, monkeypatch):
    monkeypatch.setattr(retrieval, "TRIGGER_CHUNK", 7)
    monkeypatch.setattr(retrieval, "CANDIDATE_CHUNK", 11)
    draw = np.random.default_rng(seed)
    pool = draw.integers(-2, 3, (101, 3)).astype(np.float32)  # many equal scores, 0 and -0
    triggers = draw.integers(-2, 3, (23, 3)).astype(np.float32)
    tie_rank = draw.permutation(101)
    excluded = [draw.choice(101, draw.integers(0, 60), replace=False) for _ in triggers]
    items, scores = retrieval.top_k(triggers, pool, 50, tie_rank, Lists.of(excluded))
    np.testing.assert_array_equal(items, brute_force(triggers, pool, 50, tie_rank, excluded))
    rows, places = np.nonzero(items >= 0)
    np.testing.assert_array_equal(
        scores[rows, places], np.sum(triggers[rows] * pool[items[rows, places]], axis=1))
    assert np.all(np.isneginf(scores[items < 0])) and np.any(items < 0)


def test_equal_vectors_tie_wherever_they_stand():
    draw = np.random.default_rng(0)
    vector = draw.normal(size=97).astype(np.float32)
    pool = np.tile(vector, (5003, 1))
    tie_rank = draw.permutation(5003)
    items, _ = retrieval.top_k(vector[None], pool, 10, tie_rank)
    np.testing.assert_array_equal(tie_rank[items[0]], np.arange(10))


def test_top_k_of_a_small_pool_is_padded():
    items, scores = retrieval.top_k(np.ones((1, 2)), np.array([[1.0, 0], [2.0, 0]]), 4)
    assert items.tolist() == [[1, 0, -1, -1]]
    assert scores.tolist() == [[2.0, 1.0, -np.inf, -np.inf]]


def test_recall_and_mrr_by_hand():
    ranked = np.array([[4, 7, 1, 0], [3, 2, 9, 8], [5, 6, -1, -1]])
    relevant = Lists.of([[7, 0, 33], [3], [0]])
    hits = retrieval.hits(ranked, relevant)
    assert hits.astype(int).tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(retrieval.recall_at(hits, relevant.counts, 2), [1 / 3, 1, 0])
    np.testing.assert_allclose(retrieval.recall_at(hits, relevant.counts, 4), [2 / 3, 1, 0])
    np.testing.assert_allclose(retrieval.reciprocal_rank_at(hits, 4), [1 / 2, 1, 0])
    np.testing.assert_allclose(retrieval.reciprocal_rank_at(hits, 1), [0, 1, 0])
    summary = retrieval.summary(ranked, relevant, recall_ks=(1, 4), mrr_k=4)
    assert summary == pytest.approx({"recall@1": 1 / 3, "recall@4": 5 / 9, "mrr@4": 1 / 2})


def test_triggers_without_relevant_items_do_not_count():
    ranked = np.array([[0, 1], [1, 0]])
    summary = retrieval.summary(ranked, Lists.of([[0], []]), recall_ks=(1,), mrr_k=2)
    assert summary == {"recall@1": 1.0, "mrr@2": 1.0}
    with pytest.raises(ValueError, match="none of 2 triggers has a relevant item"):
        retrieval.summary(ranked, Lists.of([[], []]), recall_ks=(1,), mrr_k=2)
    with pytest.raises(ValueError, match="got rankings of 2, expected at least 100"):
        retrieval.summary(ranked, Lists.of([[0], []]))
