"""Stages are skipped when done, resumed when cut off, refused when their configuration changed."""

import json

import pytest

from gsid_jax.errors import UserError
from gsid_jax.manifest import Manifest, difference


def run_stage(run_dir, config, fail=False):
    manifest = Manifest(run_dir)
    with manifest.stage("vocab", config, ["vocab/model"], "vocab") as todo:
        if todo:
            (run_dir / "vocab").mkdir(exist_ok=True)
            (run_dir / "vocab" / "model").write_text("x")
            if fail:
                raise KeyboardInterrupt
    return todo


def test_a_done_stage_is_skipped(tmp_path):
    assert run_stage(tmp_path, {"SIZE": "1"})
    assert not run_stage(tmp_path, {"SIZE": "1"})
    entry = json.loads((tmp_path / "manifest.json").read_text())["stages"]["vocab"]
    assert entry["status"] == "done" and entry["config"] == {"SIZE": "1"} and "finished" in entry


def test_an_interrupted_stage_runs_again_and_its_seconds_add_up(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, {"SIZE": "1"}, fail=True)
    before = Manifest(tmp_path).content["stages"]["vocab"]
    assert before["status"] == "begun" and before["seconds"] >= 0
    assert run_stage(tmp_path, {"SIZE": "1"})


@pytest.mark.parametrize("fail", [True, False])
def test_a_changed_configuration_is_refused_by_name(tmp_path, fail):
    try:
        run_stage(tmp_path, {"SIZE": "1", "B": "2"}, fail)
    except KeyboardInterrupt:
        pass
    with pytest.raises(UserError, match=r"stage 'vocab' was \w+ with another configuration "
                       r"\(SIZE: was 1, now 3\).*another RUN_DIR"):
        run_stage(tmp_path, {"SIZE": "3", "B": "2"})


def test_an_unfinished_stage_may_begin_anew_once_its_work_is_gone(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, {"SIZE": "1"}, fail=True)
    with pytest.raises(UserError, match="or remove .*vocab to begin this stage anew"):
        run_stage(tmp_path, {"SIZE": "2"})
    (tmp_path / "vocab" / "model").unlink()
    (tmp_path / "vocab").rmdir()
    assert run_stage(tmp_path, {"SIZE": "2"})
    assert Manifest(tmp_path).content["stages"]["vocab"]["config"] == {"SIZE": "2"}


def test_a_missing_output_and_a_broken_manifest_are_named(tmp_path):
    run_stage(tmp_path, {})
    (tmp_path / "vocab" / "model").unlink()
    with pytest.raises(UserError, match="recorded as done but vocab/model is missing"):
        run_stage(tmp_path, {})
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="manifest.json: not a run's manifest"):
        Manifest(tmp_path)


def test_difference_names_new_and_dropped_settings():
    text = difference({"A": "1", "B": "2"}, {"B": "3", "C": "4"})
    assert text == "A: was 1, now (not set); B: was 2, now 3; C: was (not set), now 4"
