"""Code accuracy, chance and health by hand."""

import numpy as np
import pytest

from gsid_jax.evaluate import codes


def test_code_accuracy_by_hand():
    pool = np.array([[0, 0], [0, 1], [1, 0], [1, 0]])
    query = np.array([[0, 0], [0, 0], [1, 0], [0, 1]])
    item = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # the last agrees at level 2 only: no
    result = codes.code_accuracy(query, item, pool)
    assert result["l1"] == pytest.approx({"raw": 0.75, "chance": 0.5, "corrected": 0.5})
    chance = (1 + 1 + 4) / 16
    assert result["l2"] == pytest.approx(
        {"raw": 0.5, "chance": chance, "corrected": (0.5 - chance) / (1 - chance)})


def test_random_ids_score_nothing():
    draw = np.random.default_rng(0)
    pool = draw.choice(8, (5000, 2), p=[.3, .3, .1, .1, .05, .05, .05, .05])
    pairs = draw.integers(0, 5000, (2, 20000))
    result = codes.code_accuracy(pool[pairs[0]], pool[pairs[1]], pool)
    assert abs(result["l1"]["corrected"]) < 0.015 and abs(result["l2"]["corrected"]) < 0.01
    assert result["l1"]["raw"] > 0.2  # which looks like something


def test_collapsed_ids_score_nothing_and_are_found():
    same = np.full((10, 2), 3)
    assert codes.code_accuracy(same, same, same)["l2"] == {
        "raw": 1.0, "chance": 1.0, "corrected": 0.0}
    health = codes.code_health(same)
    assert health["l1"]["perplexity"] == pytest.approx(1) and health["l1"]["max_share"] == 1
    assert codes.finding(1, health["l1"], 4) == codes.COLLAPSED


def test_health_by_hand():
    health = codes.code_health(np.array([[0, 0], [0, 1], [4, 2], [4, 2]]))
    assert health["l1"] == pytest.approx({"used": 2, "perplexity": 2, "max_share": 0.5,
                                          "conditional_perplexity": 2, "joint_perplexity": 2,
                                          "items_per_prefix": 4})
    assert health["l2"] == pytest.approx({
        "used": 3, "perplexity": np.exp(1.5 * np.log(2)), "max_share": 0.5,
        "conditional_perplexity": np.exp(0.5 * np.log(2)),
        "joint_perplexity": np.exp(1.5 * np.log(2)), "items_per_prefix": 2})


def test_leak_is_found_and_small_prefixes_are_not_blamed():
    first = np.repeat(np.arange(16), 50)
    leaking = codes.code_health(np.stack([first, (first * 7) % 16], axis=1))["l2"]
    assert leaking["perplexity"] == pytest.approx(16)
    assert codes.finding(2, leaking, 16) == codes.LEAK
    alone = codes.code_health(np.stack([np.arange(16), np.arange(16)], axis=1))["l2"]
    assert codes.finding(2, alone, 16) == ""


def test_id_counts_by_hand():
    counts = codes.id_counts(np.array([[0, 1], [0, 1], [0, 1], [1, 0], [0, 2], [0, 2]]))
    assert counts == {"distinct": 3, "mean_items": 2.0, "max_items": 3, "shared": 2,
                      "items_in_shared": 5}


def test_prefix_labels_are_joint_and_ordered():
    labels = codes.prefix_labels(np.array([[1, 5], [0, 5], [1, 0], [0, 5]]))
    assert labels.tolist() == [[1, 2], [0, 0], [1, 1], [0, 0]]


def test_few_codes_at_a_later_level_are_healthy_where_prefixes_branch():
    prefix = np.repeat(np.arange(16), 50)
    child = np.tile(np.repeat([0, 1], [30, 20]), 16)  # M10: each node's children from 0
    health = codes.code_health(np.stack([prefix, child], axis=1))
    assert health["l2"]["max_share"] > 0.5 and codes.finding(2, health["l2"], 32) == ""
    one = codes.code_health(np.stack([prefix, np.zeros_like(prefix)], axis=1))
    assert codes.finding(2, one["l2"], 32) == codes.COLLAPSED
    assert codes.finding(1, health["l2"], 32) == codes.COLLAPSED


def test_levels_that_are_not_nested():
    separate = np.array([[0, 1], [1, 1], [0, 0], [1, 0]])
    assert codes.level_labels(separate, nested=False).tolist() == separate.tolist()
    assert codes.agreement(separate[:1], separate[1:2], nested=False).tolist() == [[False, True]]
    assert codes.agreement(separate[:1], separate[1:2]).tolist() == [[False, False]]
    assert codes.chance_levels(separate, nested=False).tolist() == [0.5, 0.5]
    assert codes.id_counts(separate, nested=False)["distinct"] == 2
    health = codes.code_health(separate, nested=False)
    assert health["l2"]["joint_perplexity"] == pytest.approx(2)
