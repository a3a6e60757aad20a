"""A loss above its start stops the run; a phase that ends is no divergence."""

import pytest

from gsid_jax.divergence import DivergedError, Divergence
from gsid_jax.errors import UserError


def test_three_reports_above_the_limit_stop():
    watch = Divergence(2.0, 3)
    for step, loss in enumerate([4.0, 3.0, 9.0, 5.0, 9.0, 10.0]):
        watch.check(step, {"loss": loss}, None)
    assert watch.suspicious
    with pytest.raises(DivergedError, match="the loss diverges, it is 12 at step 6 and was 4 at "
                       "first; expected at most 8 within 3 reports. The checkpoint of step 2 is "
                       "kept. Lower LEARNING_RATE"):
        watch.check(6, {"loss": 12.0}, 2)


def test_a_new_phase_starts_anew():
    watch = Divergence(2.0, 1)
    watch.check(1, {"loss": 1.0, "contrastive_only": 1.0}, None)
    watch.check(2, {"loss": 5.0, "contrastive_only": 0.5}, None)
    watch.check(3, {"loss": 9.0, "contrastive_only": 0.0}, None)
    watch.check(4, {"loss": 17.0, "contrastive_only": 0.0}, None)
    with pytest.raises(DivergedError):
        watch.check(5, {"loss": 19.0, "contrastive_only": 0.0}, None)


def test_no_check():
    watch = Divergence(0.0, 1)
    for loss in (1.0, 1e9):
        watch.check(1, {"loss": loss}, None)


def test_bad_settings():
    with pytest.raises(UserError, match="divergence_factor is -1.0 with patience 3"):
        Divergence(-1.0)
