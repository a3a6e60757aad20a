"""What is held out depends on content and seed alone, and has the share asked for."""

import numpy as np

from tasks import hold_out

NAMES = [f"name {number}" for number in range(100)]


def test_the_choice_has_its_share_and_ignores_the_order():
    chosen = hold_out.choose(NAMES, 0.05, seed=0, stream="items")
    assert chosen.sum() == 5
    turned = hold_out.choose(NAMES[::-1], 0.05, seed=0, stream="items")
    np.testing.assert_array_equal(chosen, turned[::-1])
    for other in (hold_out.choose(NAMES, 0.05, 1, "items"),
                  hold_out.choose(NAMES, 0.05, 0, "queries")):
        assert (chosen != other).any()


def test_small_data_keeps_one_and_no_share_chooses_none():
    assert hold_out.choose(["a"], 0.5, 0, "items").tolist() == [False]
    assert hold_out.choose(["a", "b"], 0.01, 0, "items").sum() == 1
    assert hold_out.choose([], 0.5, 0, "items").shape == (0,)
    assert not hold_out.choose(NAMES, 0.0, 0, "items").any()


def test_frequency_classes_by_thirds_of_the_weight():
    weights = np.array([1.0, 10, 10, 10, 0, 3, 3, 3, 1])  # total 41
    assert hold_out.frequency_class(weights).tolist() == [
        "tail", "head", "head", "head", "tail", "tail", "tail", "tail", "tail"]
    weights = np.array([6.0, 4, 4, 1, 1, 1, 1])  # total 18: 6, then 4 + 4 reach 14 > 12
    assert hold_out.frequency_class(weights).tolist() == ["head"] + ["tail"] * 6
    weights = np.array([6.0, 3, 3, 1, 1, 1, 1, 1, 1])
    assert hold_out.frequency_class(weights).tolist() == ["head", "torso", "torso"] + ["tail"] * 6
    assert hold_out.frequency_class(np.zeros(3)).tolist() == ["tail"] * 3
