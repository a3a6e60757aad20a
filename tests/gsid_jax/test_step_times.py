"""Shares of a window, goodput and the warning about slow input."""

import pytest

from gsid_jax.step_times import StepTimes


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def spend(times, clock, **seconds):
    for kind, spent in seconds.items():
        with times.of(kind):
            clock.now += spent


def test_shares_and_goodput():
    clock = Clock()
    times = StepTimes(clock)
    clock.now = 10.0  # compiling
    times.start()
    spend(times, clock, data=1.0, dispatch=1.0, device=6.0, checkpoint=1.0)
    clock.now += 1.0
    shares, warning = times.report()
    assert warning is None
    assert shares == pytest.approx({
        "time/data": 0.1, "time/dispatch": 0.1, "time/device": 0.6, "time/evaluation": 0.0,
        "time/checkpoint": 0.1, "time/other": 0.1, "goodput": 9.0 / 20.0})


def test_slow_input_is_said_once():
    clock = Clock()
    times = StepTimes(clock)
    spend(times, clock, data=3.0, device=1.0)
    assert "the input pipeline is the bottleneck: the device waits 75% of the time" in (
        times.report()[1])
    spend(times, clock, data=3.0, device=1.0)
    assert times.report()[1] is None


def test_data_that_hides_behind_the_device_is_no_bottleneck():
    clock = Clock()
    times = StepTimes(clock)
    spend(times, clock, data=3.0, device=4.0)
    assert times.report()[1] is None
