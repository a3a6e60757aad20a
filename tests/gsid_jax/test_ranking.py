"""Candidates and scores by hand."""

import numpy as np
import pyarrow as pa
import pytest

from gsid_jax.click_log import ClickLog, read_click_log
from gsid_jax.code_index import write_index
from gsid_jax.errors import UserError
from gsid_jax.index_contents import IndexContents
from gsid_jax.ranking import NO_BEAM, Ranker, Ranking

LOG2, LOG_BEST = np.log(2.0), np.log(4.0)


@pytest.fixture
def index(tmp_path):
    """ID 0 ('0-1'): rows 0, 2, 3; ID 1 ('0-2'): row 1; ID 2 ('3-0'): rows 4, 5."""
    codes = np.array([[0, 1], [0, 2], [0, 1], [0, 1], [3, 0], [3, 0]], np.uint16)
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6], [1, 0], [0, 1]], np.float32)
    return write_index(tmp_path / "index", IndexContents(
        codes, pa.array(list("abcdef"), pa.large_string()), np.arange(6, dtype=np.int32),
        {"conversions": np.array([0, 3, 1, 3, 1, 0], np.float32)}, vectors),
        model="m" * 64, codebook_size=4)


NUMBERS = np.array([2, 0, -1], np.int32)
LOG_PROB = np.array([-0.5, -1.5, -1e9], np.float32)
QUERY = np.array([[1, 0], [0, 1], [9, 9]], np.float32)  # read differently by each ID


def ranked(index, lexical=None, **options):
    ranking = Ranking(**options)
    ranker = Ranker(index, ranking)
    c = ranker.candidates(NUMBERS, LOG_PROB, QUERY, lexical)
    scores = c.scores(ranking.weight_of_id(False), ranking.lexical_weight)
    best = ranker.best(c, scores, ranking.top_k)
    return index.rows[c.places[best]].tolist(), scores[best], c.take(best)


def test_dot_product_reads_the_query_as_each_ids_own(index):
    rows, scores, found = ranked(index)
    assert rows == [4, 2, 3, 0, 5]  # row 1 is of an ID that was not found
    np.testing.assert_allclose(scores, [1, 0.8, 0.6, 0, 0], atol=1e-6)
    assert found.beams.tolist() == [0, 1, 1, 1, 0]
    np.testing.assert_allclose(found.log_prob, [-0.5, -1.5, -1.5, -1.5, -0.5])


def test_conversion_ranks_by_id_and_what_converts(index):
    rows, scores, _ = ranked(index, rank="conversion", top_k=3)
    assert rows == [4, 3, 5]
    np.testing.assert_allclose(scores, [-0.5 + LOG2 / LOG_BEST, -1.5 + 1, -0.5], atol=1e-6)


def test_mix_and_id_weight_add_up(index):
    rows, scores, _ = ranked(index, rank="mix", conversion_weight=0.5, id_weight=0.1, top_k=2)
    assert rows == [4, 3]
    np.testing.assert_allclose(scores, [1 + 0.25 - 0.05, 0.6 + 0.5 - 0.15], atol=1e-6)


def test_items_per_id_keeps_what_converts_best(index):
    assert sorted(ranked(index, items_per_id=1)[0]) == [3, 4]
    assert sorted(ranked(index, items_per_id=2)[0]) == [2, 3, 4, 5]


def test_bm25_adds_candidates_and_score(index):
    place_of_row = np.argsort(index.rows)
    lexical = np.zeros(6, np.float32)
    lexical[place_of_row] = [0, 5, 0, 0, 2, 0]
    rows, scores, found = ranked(index, lexical, lexical_weight=0.1, lexical_candidates=2)
    assert rows[:2] == [4, 2] and set(rows) == {0, 1, 2, 3, 4, 5}
    at = rows.index(1)
    assert found.beams[at] == NO_BEAM
    np.testing.assert_allclose(scores[at], 0 + 0.5, atol=1e-6)  # read as the likeliest ID's query
    np.testing.assert_allclose(found.log_prob[at], -1.5)


def test_equal_scores_go_by_row(index):
    rows, _, _ = ranked(index, rank="conversion", id_weight=0.0, top_k=6)
    assert rows == [3, 2, 4, 0, 5]


@pytest.mark.parametrize("options, message", [
    ({"rank": "best"}, "--rank=best; expected one of dot, conversion, mix"),
    ({"top_k": 0}, "--top_k=0; expected at least 1"),
    ({"lexical_weight": float("nan")}, "--lexical_weight=nan; expected a finite number"),
    ({"rank": "mix", "conversions": "sales"}, "has no statistic 'sales' .it has conversions")])
def test_options_that_cannot_be_are_refused(index, options, message):
    with pytest.raises(UserError, match=message):
        Ranker(index, Ranking(**options))


def test_clicks_are_smoothed_by_the_model():
    log = ClickLog(smoothing=10.0)
    log.add("q", 2, 30.0)
    log.add("q", 7, 10.0)  # an ID outside the beam: still clicks that the others did not get
    found = np.exp(log.reweighted("q", NUMBERS, LOG_PROB))
    np.testing.assert_allclose(found[:2], [(30 + 10 * np.exp(-0.5)) / 50, 10 * np.exp(-1.5) / 50],
                               rtol=1e-5)
    assert log.reweighted("other", NUMBERS, LOG_PROB) is LOG_PROB
    with pytest.raises(UserError, match="--click_smoothing=0"):
        ClickLog(0)


def test_a_click_log_is_read_by_item(index, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"query": "q", "item_id": "e", "click": 2, "purchase": 1}\n'
                    '{"query": " q ", "item_id": "f", "click": 1}\n'
                    '{"query": "q", "item_id": "gone", "click": 9}\n', encoding="utf-8")
    log = read_click_log(path, index, smoothing=1.0)
    assert log.unknown_items == 1
    found = np.exp(log.reweighted("q", NUMBERS, LOG_PROB))
    np.testing.assert_allclose(found[0], (8 + np.exp(-0.5)) / 9, rtol=1e-5)
    path.write_text('{"query": "q", "item_id": "e", "click": -2}\n', encoding="utf-8")
    with pytest.raises(UserError, match="log.jsonl, line 1: bad count"):
        read_click_log(path, index)
    path.write_text('{"query": "q", "item_id": "gone", "click": 9}\n', encoding="utf-8")
    with pytest.raises(UserError, match="none of its 1 records is of an item of index"):
        read_click_log(path, index)
