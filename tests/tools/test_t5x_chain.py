"""What the report of the T5X chain is made of."""

import subprocess

import pytest

from gsid_jax.errors import UserError
from tools import t5x_chain

LOG = """I1124 19:00:46.4 1400 logging_writer.py:48] [0] collection=train timing/init_seconds=18.1
I1124 19:00:50.9 1400 trainer.py:559] Training: step 10
I1124 19:02:07.9 1400 logging_writer.py:48] [10] collection=train learning_rate=0.02, loss=5.5713, perplexity=2.9682
I1124 19:02:08.9 1400 logging_writer.py:48] [10] collection=training_eval/gsid_query_item loss=4.25
"""


def test_the_excerpt_has_the_reports_and_nothing_else():
    assert t5x_chain.excerpt(LOG, ("loss", "perplexity", "contrastive")) == (
        "[10] train  loss 5.571  perplexity 2.968\n[10] training_eval/gsid_query_item  loss 4.250")


def test_gin_flags_are_literals():
    assert t5x_chain.gin_flags(A="x", B=2, C={"inputs": 3}) == [
        "--gin.A='x'", "--gin.B=2", "--gin.C={'inputs': 3}"]


def test_commands_run_once_and_failures_are_told(tmp_path, monkeypatch):
    calls = []

    def fake(command, *, stdout, **_):
        calls.append(command)
        stdout.write("first\nthe reason\n")
        return subprocess.CompletedProcess(command, 1 if "bad" in command else 0)

    monkeypatch.setattr(subprocess, "run", fake)
    chain = t5x_chain.Chain(str(tmp_path))
    assert chain.run("one", "module", "--x") == "first\nthe reason\n"
    t5x_chain.Chain(str(tmp_path)).run("one", "module", "--x")
    assert len(calls) == 1
    with pytest.raises(UserError, match="two ended with status 1; expected 0: see .*two.log\nfirst"):
        chain.run("two", "bad")
