"""Stages taken over from other runs."""

import pytest

from gsid_jax import stage_reuse
from gsid_jax.errors import UserError
from gsid_jax.manifest import Manifest


@pytest.fixture
def donor(tmp_path):
    """A run with a finished step and its assignment."""
    run = tmp_path / "donor"
    for name in ("step_1/model.json", "step_1/checkpoints/9/x", "step_1/assignment/stats.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    manifest = Manifest(run)
    with manifest.stage("step_1", {"a": "1"}, ["step_1/model.json"], "step_1"):
        pass
    return run


def test_a_stage_of_the_same_configuration_is_linked(donor, tmp_path):
    (tmp_path / "new").mkdir()
    manifest = Manifest(tmp_path / "new")
    assert stage_reuse.take(manifest, "step_1", {"a": "1"}, ["step_1/model.json"], [str(donor)],
                            needs=[])
    assert manifest.done("step_1") and Manifest(tmp_path / "new").done("step_1")
    linked = tmp_path / "new" / "step_1" / "checkpoints" / "9" / "x"
    assert linked.samefile(donor / "step_1" / "checkpoints" / "9" / "x")
    assert not (tmp_path / "new" / "step_1" / "assignment").exists()
    assert manifest.content["stages"]["step_1"]["taken_from"] == str(donor)


def test_one_of_another_configuration_is_not(donor, tmp_path):
    manifest = Manifest(tmp_path / "new")
    assert not stage_reuse.take(manifest, "step_1", {"a": "2"}, ["step_1/model.json"],
                                [str(donor)], needs=[])
    assert not stage_reuse.take(manifest, "ids", {}, ["ids/items.parquet"], [str(donor)], needs=[])
    assert not (tmp_path / "new" / "step_1").exists()


def test_one_that_builds_on_another_stage_is_not(donor, tmp_path):
    theirs = Manifest(donor)
    with theirs.stage("assign_1", {}, ["step_1/assignment/stats.json"], "step_1/assignment"):
        pass
    (tmp_path / "new").mkdir()
    manifest = Manifest(tmp_path / "new")
    with manifest.stage("step_1", {"a": "2"}, ["step_1/model.json"], "step_1"):
        (tmp_path / "new" / "step_1").mkdir()
        (tmp_path / "new" / "step_1" / "model.json").write_text("of its own")
    assert not stage_reuse.take(manifest, "assign_1", {}, ["step_1/assignment/stats.json"],
                                [str(donor)], needs=["step_1"])


def test_a_donor_must_be_a_run(tmp_path):
    with pytest.raises(UserError, match="Pipeline.reuse: .*nowhere holds no manifest.json; expec"):
        stage_reuse.take(Manifest(tmp_path), "data", {}, [], [str(tmp_path / "nowhere")], [])
