"""The progress line."""

import io

from gsid_jax.progress import Progress, clock


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_lines_tell_share_rate_and_time_left():
    now, out = Clock(), io.StringIO()
    progress = Progress("items", 1000, interval=5.0, stream=out, now=now)
    progress.update(100)
    assert out.getvalue() == ""
    now.now = 10.0
    progress.update(100)
    assert out.getvalue() == "items: 200 of 1,000 (20.0%), 20/s, 0:40 left\n"
    now.now = 50.0
    progress.update(800)
    progress.finish()
    assert out.getvalue().splitlines()[1:] == ["items: 1,000 done in 0:50 (20/s)"]


def test_rows_done_before_are_no_speed():
    now, out = Clock(), io.StringIO()
    progress = Progress("items", 1000, done=500, stream=out, now=now)
    now.now = 10.0
    progress.update(100)
    assert out.getvalue() == "items: 600 of 1,000 (60.0%), 10/s, 0:40 left\n"


def test_clock():
    assert [clock(5), clock(65), clock(3725)] == ["0:05", "1:05", "1:02:05"]
