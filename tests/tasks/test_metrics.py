"""Metrics of the tasks, and the task of code accuracy."""

import pytest

from tasks import metrics


def test_exact_match_leaves_out_spaces_at_the_ends():
    assert metrics.exact_match(["a b", "c", "d"], ["a b ", "c", "x"]) == {
        "exact_match": pytest.approx(2 / 3)}


def test_code_accuracy_of_pairs_by_hand():
    predictions = [[1, 2], [1, 2], [1, 3], [1, 2], [4, 2], [5, 2], [5, 2], [5, 2]]  # q, i, q, i, ...
    found = metrics.code_accuracy([[0]] * 8, predictions)
    assert found["l1_raw"] == 0.75 and found["l2_raw"] == 0.5
    assert found["l1_chance"] == 0.5 and found["l2_chance"] == 0.5  # items: 1-2 twice, 5-2 twice
    assert found["l1_corrected"] == 0.5 and found["l2_corrected"] == 0.0
