"""Paired bootstrap: known intervals, pairs weighted by trigger, seeds."""

import numpy as np
import pytest

from gsid_jax.evaluate import bootstrap
from gsid_jax.evaluate.judge import Sample


def sample(values, weights=None):
    values = np.asarray(values, float)
    return Sample(values, np.ones(len(values)) if weights is None else np.asarray(weights, float))


def test_the_interval_of_a_mean_is_the_normal_one():
    draw = np.random.default_rng(0)
    a, b = draw.random(2000), draw.random(2000)
    found = bootstrap.difference([sample(a + 0.1)], [sample(b)])
    half = 1.96 * np.std(a - b) / np.sqrt(2000)
    assert found["difference"] == pytest.approx(np.mean(a - b) + 0.1)
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.06)


def test_pairing_removes_what_both_share():
    hard = np.random.default_rng(1).random(500)
    found = bootstrap.difference([sample(hard + 0.01)], [sample(hard)])
    assert found == pytest.approx({"difference": 0.01, "low": 0.01, "high": 0.01})


def test_a_share_of_pairs_is_weighted_by_the_pairs_of_a_trigger():
    ours = sample([3, 0], [3, 1])
    found = bootstrap.difference([ours], [sample([0, 0], [3, 1])], resamples=400)
    assert found["difference"] == pytest.approx(0.75)
    assert found["low"] == 0 and found["high"] == 1


def test_seeds_are_averaged_and_repeat():
    runs = [sample(np.full(50, value)) for value in (0.2, 0.4)]
    none = [sample(np.zeros(50))] * 2
    assert bootstrap.difference(runs, none)["difference"] == pytest.approx(0.3)
    draw = np.random.default_rng(2)
    a, b = sample(draw.random(40)), sample(draw.random(40))
    assert bootstrap.difference([a], [b], seed=5) == bootstrap.difference([a], [b], seed=5)
    both = [bootstrap.difference([a, a], [b, b], same_triggers=same) for same in (True, False)]
    wide, narrow = (each["high"] - each["low"] for each in both)
    assert narrow < 0.85 * wide


def test_different_triggers_are_refused():
    with pytest.raises(ValueError, match="2 and 3 triggers differ"):
        bootstrap.difference([sample([0, 1])], [sample([0, 1, 1])])
