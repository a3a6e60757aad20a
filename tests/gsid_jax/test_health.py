"""The collapse guard: what it stops, what it says, what it lets pass."""

import pytest

from gsid_jax.errors import UserError
from gsid_jax.health import CollapseError, CollapseGuard

HEALTHY = {"perplexity": 20.0, "max_share": 0.1, "conditional_perplexity": 4.0,
           "contrastive_only": 0.0}


def test_collapse_stops_after_patience_with_numbers_cause_and_binding():
    guard = CollapseGuard(codebook_size=32, patience=2)
    bad = HEALTHY | {"perplexity": 1.2, "max_share": 0.97}
    assert guard.check(10, bad) is None
    with pytest.raises(CollapseError, match=r"level 1 have collapsed at step 20: perplexity 1.2 "
                       r"of 32 .* 97% of the items.*Likely cause.*GSIDModel.balance='entropy'"):
        guard.check(20, bad)


def test_a_healthy_report_resets_the_count():
    guard = CollapseGuard(codebook_size=32, patience=2)
    for step in range(6):
        report = HEALTHY | ({"perplexity": 1.0} if step % 2 else {})
        assert guard.check(step, report) is None


def test_prefix_leak_is_seen_from_level_two_on():
    leak = HEALTHY | {"conditional_perplexity": 1.1}
    assert CollapseGuard(32, level=1, patience=1).check(5, leak) is None
    with pytest.raises(CollapseError, match="conditional perplexity 1.10.*CodebookConfig.centring"):
        CollapseGuard(32, level=2, patience=1).check(5, leak)


def test_nan_is_unhealthy_first_phase_and_pretraining_are_passed_over():
    with pytest.raises(CollapseError):
        CollapseGuard(32, patience=1).check(1, HEALTHY | {"perplexity": float("nan")})
    guard = CollapseGuard(32, patience=1)
    assert guard.check(1, {"loss": 3.0}) is None
    assert guard.check(1, HEALTHY | {"perplexity": 1.0, "contrastive_only": 1.0}) is None


def test_warn_and_off():
    bad = HEALTHY | {"perplexity": 1.0}
    assert "collapsed" in CollapseGuard(32, mode="warn", patience=1).check(1, bad)
    assert CollapseGuard(32, mode="off", patience=1).check(1, bad) is None
    with pytest.raises(UserError, match="CollapseGuard.mode: got 'panic'"):
        CollapseGuard(32, mode="panic")
