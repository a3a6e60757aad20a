"""The report: means, console line, the window across a restart, events."""

import io

import pytest

from gsid_jax.training_log import TrainingLog, means_of


class Writer:
    def __init__(self):
        self.written, self.closed = [], False

    def write_scalars(self, step, scalars):
        self.written.append((step, scalars))

    def flush(self):
        pass

    def close(self):
        self.closed = True


class Clock:
    def __init__(self):
        self.time = 100.0

    def __call__(self):
        return self.time


def test_a_report():
    out, writer, clock = io.StringIO(), Writer(), Clock()
    log = TrainingLog(1000, 64, writer, out, clock)
    log.start(0)
    log.add({"loss": (6.0, 2.0), "perplexity": (28.0, 1.0), "balance": (1.0, 1.0)})
    log.add({"loss": (2.0, 2.0), "perplexity": (30.0, 1.0), "balance": (3.0, 1.0)})
    clock.time += 50.0
    means = log.report(200)
    assert means == {"loss": 2.0, "perplexity": 29.0, "balance": 2.0} == log.latest
    assert out.getvalue() == ("step 200/1,000  loss 2.000  perplexity 29.0  4.000 steps/s  "
                              "256 examples/s  ETA 3:20\n")
    assert writer.written == [
        (200, {"steps_per_second": 4.0, "examples_per_second": 256.0}),
        (200, {"train/loss": 2.0, "train/perplexity": 29.0, "train/balance": 2.0})]
    log.close()
    assert writer.closed


def test_the_window_starts_anew_and_can_be_handed_on():
    first = TrainingLog(10, 1, stream=io.StringIO())
    first.add({"loss": (1.0, 1.0)})
    first.report(1)
    first.add({"loss": (0.1, 3.0)})
    second = TrainingLog(10, 1, stream=io.StringIO())
    second.window = first.window
    second.add({"loss": (0.2, 1.0)})
    assert second.report(3) == {"loss": pytest.approx(0.075)}


def test_numbers_of_every_size():
    out = io.StringIO()
    log = TrainingLog(10, 1, stream=out)
    log.add({"loss": (float("nan"), 1.0), "contrastive": (12345.0, 1.0), "alignment": (0.0, 0.0)})
    log.report(1)
    assert out.getvalue() == "step 1/10  loss nan  contrastive 12,345  alignment 0.000\n"


def test_means_of_nothing_are_zero():
    assert means_of({"a": (3.0, 0.0), "b": (3.0, 2.0)}) == {"a": 0.0, "b": 1.5}


def test_eval_report():
    out, writer = io.StringIO(), Writer()
    TrainingLog(10, 1, writer, out).report_eval(5, {"loss": (4.0, 2.0)})
    assert out.getvalue() == "eval at step 5  loss 2.000\n"
    assert writer.written == [(5, {"eval/loss": 2.0})]
