"""Fits by kind of batch: which are trained, where, and how failures are told."""

import types

import numpy as np
import pytest

from gsid_jax.errors import UserError
from tools import negatives, representation


@pytest.fixture(name="run")
def fixture_run(tiny_run_dir, tmp_path):
    """A run with the stages that a fit needs."""
    run = tmp_path / "run"
    run.mkdir()
    for path in tiny_run_dir.iterdir():
        (run / path.name).symlink_to(path)
    for name in ("fit", "tree", "dual_encoder"):
        if not (run / name).exists():
            (run / name).mkdir()
    (run / "fit" / "config.gin").write_text("TRAIN_STEPS = 1\n")
    if not (run / "dual_encoder" / "model.json").exists():
        (run / "dual_encoder" / "model.json").write_text("{}")
    return run


def test_a_fit_for_every_kind_of_batch(run, tmp_path, monkeypatch):
    commands, stages = [], []

    def represent(directory, stage, texts):
        stages.append((directory.name, stage))
        level = int(max(run.glob("step_*")).name.removeprefix("step_"))
        name = "pooled" if stage == "dual_encoder" else f"d_{level}"
        yield name, {kind: np.ones((len(texts[kind]), 2), np.float32) for kind in texts}

    monkeypatch.setattr(representation, "representations", represent)
    monkeypatch.setattr(negatives.subprocess, "run", lambda command, check: commands.append(
        command) or types.SimpleNamespace(returncode=0))
    page, output = tmp_path / "page.md", tmp_path / "fits"
    assert negatives.main([f"--run_dir={run}", f"--output={output}", "--steps=10,30,60",
                           f"--report={page}"]) == 0
    assert stages[0] == ("run", max(run.glob("step_*")).name)
    level = int(stages[0][1].removeprefix("step_"))
    assert [name for name, stage in stages[1:] if stage == "fit"] == [
        "shuffled_in_blocks_10", "shuffled_in_blocks_30", "shuffled_in_blocks_60",
        "groups_of_2_30", "groups_of_8_30", "groups_of_32_10", "groups_of_32_30",
        "groups_of_32_60", "shuffled_30", f"groups_of_32_{level - 1}_codes_in_common_30",
        "groups_of_32_half_alone_30"]
    assert commands[3][5:] == ["--gin.TRAIN_STEPS=30", "--gin.prefix_groups.enabled=True",
                               "--gin.GROUP_SIZE=2"]
    assert (output / "groups_of_2_30" / "tree").resolve() == (run / "tree").resolve()
    control = commands[-1]  # the dual encoder, in groups of one prefix
    assert control[3] == f"--gin_file={run}/dual_encoder/config.gin"
    name = f"dual_encoder_groups_of_32_{level - 1}_codes_in_common_30"
    assert control[5:] == ["--gin.TRAIN_STEPS=30", "--gin.prefix_groups.enabled=True",
                           f"--gin.prefix_groups.prefix_levels={level - 1}",
                           f"--gin.STEP_DIR='{output}/{name}/tree'",
                           f"--gin.INITIAL_CHECKPOINT_PATH='{run}/dual_encoder'"]
    text = page.read_text(encoding="utf-8")
    assert "| GSID | groups of 32 | 60 |" in text and "| dual encoder | shuffled | 30 |" in text


def test_a_fit_that_fails_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(negatives.subprocess, "run",
                        lambda *_, **__: types.SimpleNamespace(returncode=3))
    with pytest.raises(UserError, match="the training in .*x failed, see above"):
        negatives.train(run / "fit" / "config.gin", tmp_path / "x", 1, [])


def test_a_run_without_a_fit_is_refused(run, tmp_path, capsys):
    (run / "fit" / "config.gin").unlink()
    assert negatives.main([f"--run_dir={run}", f"--output={tmp_path}"]) == 1
    assert "has no fit/config.gin; expected a run with ASSIGNMENT" in capsys.readouterr().err


def test_steps_must_be_numbers(run, tmp_path, capsys):
    assert negatives.main([f"--run_dir={run}", f"--output={tmp_path}", "--steps=many"]) == 1
    assert "--steps: got 'many', expected numbers" in capsys.readouterr().err
