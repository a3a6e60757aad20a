"""The chain end to end, through its command line, killed and not."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from gsid_jax import launch, pipeline
from gsid_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
GIN = "tests/gsid_jax/tiny_pipeline.gin"
KILLS = ("step 6/8", "assigning item codes", "[6/9] step_2")  # SIGKILL when this is printed


def command(run_dir, *bindings):
    return [sys.executable, "-m", "gsid_jax.pipeline", f"--gin_file={GIN}",
            f"--gin.RUN_DIR={str(run_dir)!r}", *bindings]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One device, and compiled programs shared by the runs of this module."""
    cache = tmp_path_factory.mktemp("cache")
    return os.environ | {"XLA_FLAGS": "", "JAX_COMPILATION_CACHE_DIR": str(cache),
                         "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}


def run(run_dir, environment, *bindings, kill_at=None):
    """Runs the pipeline; with `kill_at`, kills it when a line with that text appears."""
    process = subprocess.Popen(command(run_dir, *bindings), cwd=ROOT, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if kill_at and kill_at in line:
            process.send_signal(signal.SIGKILL)
    return process.wait(), "".join(lines)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, environment):
    run_dir = tmp_path_factory.mktemp("run") / "whole"
    status, output = run(run_dir, environment)
    assert status == 0, output
    return run_dir, output


def results(run_dir):
    metrics = json.loads((run_dir / "evaluation" / "metrics.json").read_text())
    metrics.pop("time")
    ids = {name: pq.read_table(run_dir / "ids" / f"{name}.parquet").to_pydict()
           for name in ("items", "queries")}
    return metrics, ids


def test_the_chain_writes_what_it_promises(finished):
    run_dir, output = finished
    metrics, ids = results(run_dir)
    assert metrics["ids"]["distinct"] > 1
    assert set(metrics["code_accuracy"]) == {"l1", "l2"}
    assert len(ids["items"]["item_id"]) == 2000
    assert ids["items"]["path"][0] == "-".join(map(str, ids["items"]["codes"][0]))
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert [s["status"] for s in manifest["stages"].values()] == ["done"] * 9
    assert "ID tree" in output and "Recall" in output.replace("R@", "Recall@")


def test_killed_three_times_it_ends_with_the_same_ids_and_figures(finished, environment, tmp_path):
    for kill_at in KILLS:
        status, output = run(tmp_path / "cut", environment, kill_at=kill_at)
        assert status == -signal.SIGKILL, output
    status, output = run(tmp_path / "cut", environment)
    assert status == 0, output
    assert "done before, skipped" in output
    assert results(tmp_path / "cut") == results(finished[0])


def test_again_all_is_skipped_and_another_config_is_refused(finished, environment):
    status, output = run(finished[0], environment)
    assert status == 0 and output.count("done before, skipped") == 9
    status, output = run(finished[0], environment, "--gin.CodebookConfig.centring=0.7")
    assert status == 1
    assert "stage 'step_1' was done with another configuration" in output
    assert "centring: was (not set), now 0.7" in output and "Traceback" not in output


def test_other_final_ids_are_refused_before_they_are_made(finished, tmp_path):
    settings = dict(run_dir=str(finished[0]), levels=2, fit_gin="f.gin")
    run = pipeline.Run(pipeline.Pipeline(**settings, assignment="retree", lookup="marginals"))
    with pytest.raises(UserError, match="stage 'ids' was done with .*assignment: was .not set."):
        run.execute()
    stages = {"stages": {"lookup": {"status": "done", "config": {}}}}
    (tmp_path / "manifest.json").write_text(json.dumps(stages))
    run = pipeline.Run(pipeline.Pipeline(**settings | {"run_dir": str(tmp_path)}))
    with pytest.raises(UserError, match="has a stage 'lookup', which ASSIGNMENT = 'greedy' .*reuse"):
        run.execute()


def test_a_new_tree_and_the_dual_encoder_on_stages_of_another_run(finished, environment, tmp_path):
    run_dir = tmp_path / "tree"
    status, output = run(
        run_dir, environment, f"--gin.Pipeline.reuse={[str(finished[0])]!r}",
        "--gin.ASSIGNMENT='retree'", "--gin.LOOKUP='marginals'",
        "--gin.Pipeline.dual_encoder_gin='gin_configs/runs/dual_encoder.gin'")
    assert status == 0, output
    assert output.count("done before, skipped") == 7  # up to the last assignment
    assert "prototypes of" in output and "(retree)" in output
    metrics, ids = results(run_dir)
    assert ids["items"]["codes"] != results(finished[0])[1]["items"]["codes"]
    tree = {tuple(row) for row in np.load(run_dir / "tree" / "item_codes.npy").tolist()}
    for table in ids.values():  # items and queries get IDs of the tree, and only those
        assert {tuple(codes) for codes in table["codes"]} <= tree
    assert metrics["ids"]["distinct"] <= len(tree)
    dense = np.load(run_dir / "dual_encoder" / "ids" / "queries.npy")
    assert dense.shape == (len(ids["queries"]["query"]), 32)
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1.0, rtol=1e-4)
    steps = json.loads((run_dir / "manifest.json").read_text())["stages"]["dual_encoder"]["config"]
    assert steps["TRAIN_STEPS"] == "20"  # as many as the chain: 8 + 8 + 4


@pytest.mark.parametrize("bindings, text", [
    (["--gin.ASSIGNMENT='retree'"], "assignment is 'retree' with lookup 'plain'; expected lookup"),
    (["--gin.LOOKUP='magic'"], "lookup: got 'magic', expected one of"),
    (["--gin.Pipeline.reuse=['nowhere']"], "reuse: nowhere holds no manifest.json; expected"),
    (["--gin.TRAIN_STEP=5"], "unknown gin name in --gin.TRAIN_STEP: .*did you mean TRAIN_STEPS"),
    (["--gin.ITEMS='nowhere.jsonl'"], "needs both files or neither"),
    (["--gin.ITEMS='no.jsonl'", "--gin.INTERACTIONS='no.jsonl'"], "no file 'no.jsonl'"),
    (["--gin.NUM_LEVELS=0"], "levels: got 0, expected at least 1"),
    (["--gin.Pipeline.until='step_9'"], "until: got 'step_9', expected one of data, vocab"),
    (["--gin.LANGUAGE='fr'"], "unknown language: got 'fr'"),
])
def test_mistakes_are_named(tmp_path, bindings, text, capsys):
    launch.define_flags()
    launch.flags.FLAGS.unparse_flags()
    for name in ("gin_file", "gin_bindings"):
        launch.flags.FLAGS[name].unparse()
    argv = ["pipeline", f"--gin_file={GIN}", f"--gin.RUN_DIR={str(tmp_path / 'r')!r}", *bindings]
    assert launch.call(pipeline.main, argv) == 1
    assert re.search(text, capsys.readouterr().err)


def test_parameters_of_the_tasks_are_taken_on_the_command_line(environment, tmp_path):
    """In a process of its own: here the tasks, which register them, are imported already."""
    status, output = run(tmp_path / "run", environment, "--gin.prefix_groups.enabled=False",
                         "--gin.tasks.grouping.shuffling.block_records=100",
                         "--gin.Pipeline.until='nowhere'")
    assert status == 1 and "until: got 'nowhere', expected one of data" in output
    status, output = run(tmp_path / "run", environment, "--gin.prefix_gruops.enabled=False")
    assert status == 1 and "unknown gin name 'prefix_gruops'" in output
    assert not (tmp_path / "run" / "data").exists()


def test_a_stage_that_t5x_trained_is_taken_as_it_is(tmp_path, capsys):
    (tmp_path / "pretrain" / "checkpoint_30" / "state").mkdir(parents=True)
    run = pipeline.Run(pipeline.Pipeline(run_dir=str(tmp_path), levels=1, pretrain_gin="unread"))
    run._pretrain()
    assert "pretrain was trained by T5X, to step 30: taken as it is" in capsys.readouterr().out


def test_concerns_sorts_bindings():
    here, anywhere = {"TRAIN_STEPS", "adamw"}, {"TRAIN_STEPS", "adamw", "CodebookConfig"}
    for binding, expected in (("TRAIN_STEPS = 3", True), ("LANGUAGE = 'zh.x'", False),
                              ("optimizers.adamw.b1 = 0.5", True),
                              ("CodebookConfig.centring = 0.5", False),
                              ("tasks.grouping.shuffling.block_records = 9", True),
                              ("Pipeline.group_size = 3", False)):
        assert pipeline.concerns(binding, here, anywhere) == expected, binding
