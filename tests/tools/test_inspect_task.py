"""The inspection tool: its views and figures, both ways to start it, and its errors."""

import io
import pathlib
import re
import subprocess
import sys

import pytest

from gsid_jax.errors import UserError
from tests.tasks.conftest import catalogue, placed, step_two  # pylint: disable=unused-import
from tools import inspect_task

ROOT = pathlib.Path(__file__).resolve().parents[2]


def shown(*args, **kwargs):
    out = io.StringIO()
    inspect_task.inspect(*args, out=out, **kwargs)
    return out.getvalue()


def test_all_views_of_a_pretraining_task(placed):
    text = shown("gsid_query_generation", {"inputs": 20, "targets": 30}, n=2, examples=50)
    assert "task gsid_query_generation, split train: 60 records, lengths {'inputs': 20" in text
    for view in ("--- raw", "--- preprocessed", "--- decoded", "--- model features"):
        assert text.count(view) == 2
    assert "inputs (20 tokens): <extra_id_3> used " in text
    assert "encoder_input_tokens: int32 [20]" in text
    row = re.search(r"  inputs +50 .* 20 (\S+)% +(\S+)% +0.00%", text)
    assert row and float(row[1]) == 100.0 and float(row[2]) == 0.0  # every text is cut


def test_figures(placed):
    text = shown("gsid_query_item", {"inputs": 100, "queries": 30}, n=0, examples=60)
    texts = re.search(r"  queries +(\d+) .* 30 +(\S+)% +(\S+)%", text)
    assert texts[1] == "108" and texts[2] == "0.0"  # 12 of 60 items have one query, the others two
    assert "queries per item: 1.80 of 2" in text


def test_a_later_step_shows_codes_and_groups(step_two):
    text = shown("gsid_query_item", {"inputs": 20, "queries": 8}, n=1)
    assert "item_soft: 32 bytes" in text and "item_soft: float32 [2, 8]" in text
    assert re.search(r"same-prefix neighbours: \d+ groups of mean size .*; 21 prefixes", text)


def test_a_mixture_is_shown_task_by_task(placed):
    text = shown("gsid_pretrain", n=0, examples=5)
    assert re.findall(r"^task (\w+),", text, re.MULTILINE) == [
        "gsid_item_cloze", "gsid_query_generation", "gsid_suffix_completion"]


@pytest.mark.parametrize("task", ["gsid_items", "gsid_queries"])
def test_inference_tasks(placed, task):
    assert "model features\n  encoder_input_tokens: int32 [64]" in shown(task, n=1)


@pytest.mark.parametrize("start,bindings", [
    (["tools/inspect_task.py"], []),
    (["-m", "tools.inspect_task"], ["--gin.tasks.preprocessors.item_cloze.unit='word'"]),
])
def test_runs_from_the_command_line(catalogue, start, bindings):
    done = subprocess.run(
        [sys.executable, *start, "--task=gsid_item_cloze", f"--data_dir={catalogue}/data",
         f"--vocabulary={catalogue}/spm.model", "--n=0", "--examples=10", *bindings],
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "statistics of gsid_item_cloze over 10 examples" in done.stdout


@pytest.mark.parametrize("args,message", [
    (["--task=nothing"],
     "unknown task or mixture 'nothing'; known tasks: gsid_code_accuracy, gsid_item_cloze"),
    (["--task=gsid_items"], "tasks.location.data_location.data_dir is not set"),
    (["--task=gsid_items", "--lengths=64"], "--lengths is '64'; expected NAME=NUMBER"),
    (["--task=gsid_items", "--size=4"], "unknown argument --size=4"),
    (["--task=gsid_items", "--examples=0"], "--examples is 0; expected at least 0 and 1"),
])
def test_errors_are_one_line(args, message, capsys):
    assert inspect_task.main(args) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_lengths():
    assert inspect_task.parse_lengths("inputs=64, queries=16") == {"inputs": 64, "queries": 16}
    with pytest.raises(UserError, match="--lengths is 'inputs='"):
        inspect_task.parse_lengths("inputs=")
