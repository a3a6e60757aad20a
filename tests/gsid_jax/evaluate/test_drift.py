import numpy as np
import pytest

from gsid_jax.errors import UserError
from gsid_jax.evaluate import drift

LIMITS = drift.Limits(resamples=200)
ALPHA = LIMITS.alpha / 7


def probs(random, n, sure):
    return random.beta(sure, 1.0, (n, 3)).astype(np.float32)


def codes(random, n, spread=8):
    first = random.integers(0, spread, n)
    return np.stack([first, (first * 3 + random.integers(0, 4, n)) % 8], axis=1)


def test_wilson_is_the_textbook_interval():
    low, high = drift.wilson(10, 100, 1.959964)
    assert (low, high) == pytest.approx((0.0552, 0.1744), abs=1e-4)


def test_newcombe_is_the_published_example():
    # Newcombe 1998, method 10, example (a): 56/70 against 48/80.
    new, old = np.arange(70) < 56, np.arange(80) < 48
    assert drift.share_change(new, old, 1.959964) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_items_like_those_of_the_training_raise_no_alarm():
    random = np.random.default_rng(0)
    for n in (1, 40, 400):
        signals = drift.low_probability(probs(random, n, 4), probs(random, 300, 4),
                                        probs(random, 3000, 4), LIMITS, ALPHA)
        signals += drift.conditional_perplexity(codes(random, n), codes(random, 3000), LIMITS,
                                                ALPHA)
        assert not any(signal.alarm for signal in signals)
    assert drift.verdict(signals) == drift.NONE


def test_doubtful_codes_raise_an_alarm():
    random = np.random.default_rng(0)
    signals = drift.low_probability(probs(random, 100, 1), probs(random, 300, 4),
                                    probs(random, 3000, 4), LIMITS, ALPHA)
    assert [signal.level for signal in signals] == ["l1", "l2", "l3", "ID"]
    assert all(signal.alarm for signal in signals)
    assert drift.verdict(signals) == drift.RETRAIN


def test_held_out_items_say_what_is_normal():
    random = np.random.default_rng(0)
    signals = drift.low_probability(probs(random, 300, 1), probs(random, 300, 1),
                                    probs(random, 3000, 4), LIMITS, ALPHA)
    assert not any(signal.alarm for signal in signals)


def test_a_batch_of_one_kind_is_to_be_watched():
    random = np.random.default_rng(0)
    signals = drift.conditional_perplexity(codes(random, 200, spread=2), codes(random, 3000),
                                           LIMITS, ALPHA)
    assert signals[0].alarm and signals[0].new < signals[0].low
    assert drift.verdict(signals) == drift.WATCH


def test_a_batch_larger_than_the_training_is_compared_in_parts():
    random = np.random.default_rng(0)
    signals = drift.conditional_perplexity(codes(random, 3000), codes(random, 300), LIMITS, ALPHA)
    assert not any(signal.alarm for signal in signals)


def pairs(random, items, right):
    item = np.repeat(np.arange(items), 3)
    return drift.Pairs(np.repeat(random.random(items) < right, 3)[:, None], item)


def test_queries_that_miss_their_items_raise_an_alarm():
    random = np.random.default_rng(0)
    held_out = pairs(random, 300, 0.9)
    (signal,) = drift.pair_agreement(pairs(random, 100, 0.5), held_out, LIMITS, ALPHA)
    assert signal.alarm and signal.high < 0
    (signal,) = drift.pair_agreement(pairs(random, 100, 0.9), held_out, LIMITS, ALPHA)
    assert not signal.alarm


def test_pairs_of_one_item_are_no_independent_evidence():
    random = np.random.default_rng(0)
    one_item = drift.Pairs(np.zeros((200, 1), bool), np.zeros(200, int))
    (signal,) = drift.pair_agreement(one_item, pairs(random, 300, 0.9), LIMITS, ALPHA)
    assert not signal.alarm


def test_a_handful_of_items_is_too_few():
    random = np.random.default_rng(0)
    signals = drift.low_probability(probs(random, 5, 0.1), probs(random, 300, 4),
                                    probs(random, 3000, 4), LIMITS, ALPHA)
    assert any(signal.change for signal in signals) and not any(s.alarm for s in signals)
    assert drift.verdict(signals) == drift.TOO_FEW


def test_limits_that_cannot_be():
    with pytest.raises(UserError, match="alpha 0 .* expected shares between 0 and 1"):
        drift.Limits(alpha=0)
