"""Whole runs: killed and resumed, stopped, evaluated, started from another run."""

import functools
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from gsid_jax import optimizers, trainer
from gsid_jax.checkpoints import (CheckpointConfig, RestoreCheckpointConfig, SaveCheckpointConfig,
                                  load_variables)
from gsid_jax.divergence import DivergedError
from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner
from gsid_jax.train import train
from tests.gsid_jax.toy_model import ToyData, ToyModel

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Recorder:
    """A guard that remembers what it was shown."""

    def __init__(self, stop_at=None):
        self.seen, self.stop_at = {}, stop_at

    def check(self, step, metrics):
        self.seen[step] = metrics
        if step == self.stop_at:
            raise UserError("collapsed")
        return f"odd at {step}" if step == 4 else None


def toy_train(model_dir, data=ToyData(), total_steps=12, period=5, model=None, restore=None, **kw):
    out = io.StringIO()
    options = dict(guard=Recorder(), log_period=4, random_seed=3, tensorboard=False, stream=out)
    model = model or ToyModel(optimizers.adamw(optimizers.schedule(0.05, "linear", 2, 12)),
                              mutables=True, dropout_rate=0.3)
    summary = train(model=model, model_dir=str(model_dir), train_dataset_cfg=data,
                    total_steps=total_steps,
                    checkpoint_cfg=CheckpointConfig(SaveCheckpointConfig(period), restore),
                    **(options | kw))
    return summary, out.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts: directory, summary, report and what the guard saw."""
    folder, guard = tmp_path_factory.mktemp("whole"), Recorder()
    summary, said = toy_train(folder, guard=guard)
    return types.SimpleNamespace(folder=folder, summary=summary, said=said, seen=guard.seen)


def assert_same_end(folder, whole):
    ours, theirs = load_variables(str(folder)), load_variables(str(whole.folder))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_reports(whole):
    lines = whole.said.splitlines()
    assert lines[0] == "starting anew from random parameters, seed 3"
    assert lines[1] == "devices: 8 x cpu on 1 host, mesh data 8 x model 1"
    assert lines[2] == "batch: 16 global, 16 a host, 2 a device, in 1 microbatch of 16"
    assert lines[3].startswith("features of a host: x [16, 16], y [16, 8]")
    assert lines[4] == "parameters: 136"
    assert lines[5].startswith("memory of the state: 0.0 MiB a device (parameters 0.0")
    assert lines[6].startswith("compiled in ")
    reports = [line for line in lines if line.startswith("step")]
    assert [line.split("  ")[0] for line in reports] == ["step 4/12", "step 8/12", "step 12/12"]
    for part in ("loss ", "perplexity ", " steps/s", " examples/s", "ETA 0:0",
                 "waiting for data ", "goodput "):
        assert part in reports[0]
    assert whole.summary.step == 12 and whole.summary.resumed_from is None
    assert whole.summary.metrics == whole.seen[12]
    assert whole.seen[12]["loss"] < whole.seen[4]["loss"]
    assert set(whole.seen[4]) == {"loss", "perplexity", "grad_norm", "learning_rate"}


def test_warnings_of_the_guard_are_printed(tmp_path, capsys):
    toy_train(tmp_path, total_steps=4)
    assert "warning: odd at 4" in capsys.readouterr().err


def test_model_dir(whole):
    assert sorted(os.listdir(whole.folder / "checkpoints")) == ["10", "12"]
    described = json.loads((whole.folder / "model.json").read_text())
    assert described == {"model": "ToyModel", "level": 1, "network": {}}


@pytest.mark.parametrize("kills", [[3], [5, 6, 11], [10, 10]])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, whole, kills):
    seen, resumed = {}, []
    for kill in [*kills, None]:
        guard = Recorder()
        try:
            summary, said = toy_train(tmp_path, ToyData(fail_at=kill), guard=guard)
            resumed.append(summary.resumed_from)
        except KeyboardInterrupt:
            pass
        seen |= guard.seen
    assert resumed == [{3: None, 11: 10, 10: 10}[kills[-1]]]
    assert_same_end(tmp_path, whole)
    assert seen == whole.seen
    if resumed[0]:
        assert f"resuming from step {resumed[0]}" in said


def test_a_damaged_newest_checkpoint_costs_steps_but_no_bits(tmp_path, whole, capsys):
    with pytest.raises(KeyboardInterrupt):
        toy_train(tmp_path, ToyData(fail_at=11))
    os.remove(tmp_path / "checkpoints" / "10" / "params" / "manifest.ocdbt")
    summary, _ = toy_train(tmp_path)
    assert summary.resumed_from == 5
    assert "10 is damaged" in capsys.readouterr().err
    assert_same_end(tmp_path, whole)


def test_sigterm_saves_and_leaves(tmp_path, whole):
    def terminate(number):
        if number == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    out = io.StringIO()
    with pytest.raises(SystemExit) as left:
        toy_train(tmp_path, ToyData(on_batch=terminate), stream=out)
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "stopped by SIGTERM after step 7; a checkpoint is saved" in out.getvalue()
    summary, _ = toy_train(tmp_path)
    assert summary.resumed_from == 7
    assert_same_end(tmp_path, whole)


def test_a_finished_run_has_nothing_to_do(whole):
    summary, said = toy_train(whole.folder, ToyData(fail_at=0))
    assert summary.step == summary.resumed_from == 12
    assert summary.metrics == whole.summary.metrics
    assert "trained to step 12 already, 12 asked: nothing to do" in said


def test_changed_settings_are_refused(whole):
    with pytest.raises(UserError, match="RANDOM_SEED=3, this one has RANDOM_SEED=4"):
        toy_train(whole.folder, random_seed=4)
    with pytest.raises(UserError, match="BATCH_SIZE=16, this one has BATCH_SIZE=32"):
        toy_train(whole.folder, ToyData(batch_size=32))


def test_non_finite_stop_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(trainer.NonFiniteError, match="loss is nan at step 10 .* The checkpoint of "
                       "step 5 is kept"):
        toy_train(tmp_path, ToyData(nan_at=9))
    assert os.listdir(tmp_path / "checkpoints") == ["5"]


def test_a_diverging_loss_stops_and_keeps_a_good_checkpoint(tmp_path):
    model = ToyModel(optimizers.adamw(3.0, clip_norm=None), mutables=True)
    with pytest.raises(DivergedError, match="training stopped: the loss diverges, it is .* at step "
                       "4 .* The checkpoint of step 1 is kept. Lower LEARNING_RATE"):
        toy_train(tmp_path, model=model, log_period=1, period=1)
    assert os.listdir(tmp_path / "checkpoints") == ["1"]
    assert toy_train(tmp_path, model=model, log_period=1, total_steps=6,
                     divergence_factor=0.0)[0].step == 6


def test_a_full_disk_is_named_and_the_last_checkpoint_kept(tmp_path, whole):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(number):
        if number == 6:  # as if the disk had no room: files can no longer grow
            while not (tmp_path / "checkpoints" / "5").is_dir():
                time.sleep(0.01)  # it is written in the background
            resource.setrlimit(resource.RLIMIT_FSIZE, (60, limits[1]))

    try:
        with pytest.raises(UserError, match="a checkpoint cannot be written to .*checkpoints: File "
                           "too large; the checkpoint of step 5 is kept. Expected a directory with "
                           "room .*: free space"):
            toy_train(tmp_path, ToyData(on_batch=fill), log_period=100)  # no warning to print
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    summary, _ = toy_train(tmp_path)
    assert summary.resumed_from == 5
    assert_same_end(tmp_path, whole)


def test_a_place_that_cannot_be_written_is_named():
    with pytest.raises(UserError, match="a checkpoint cannot be written to /sys/gsid_jax/checkpoints"
                       ": .*; there is no checkpoint yet. Expected .* or correct MODEL_DIR"):
        toy_train("/sys/gsid_jax")


def test_resumed_on_fewer_devices_it_ends_within_rounding(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        toy_train(tmp_path, ToyData(fail_at=6))
    part = Partitioner(2, fsdp=True, devices=jax.devices()[:4])
    summary, _ = toy_train(tmp_path, partitioner=part)
    assert summary.resumed_from == 5
    ours, theirs = load_variables(str(tmp_path)), load_variables(str(whole.folder))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_slow_input_is_said(tmp_path, capsys):
    toy_train(tmp_path, ToyData(on_batch=lambda number: time.sleep(0.02)), total_steps=8)
    assert "the input pipeline is the bottleneck" in capsys.readouterr().err


def test_the_guard_stops_a_run(tmp_path):
    with pytest.raises(UserError, match="collapsed"):
        toy_train(tmp_path, guard=Recorder(stop_at=8))
    assert os.listdir(tmp_path / "checkpoints") == ["5"]


def test_another_vocabulary_is_refused(tmp_path):
    info = {"vocabulary_sha256": "a1", "extra_ids": 16}
    toy_train(tmp_path / "a", total_steps=1, model_info=info)
    other = info | {"vocabulary_sha256": "b2"}
    with pytest.raises(UserError, match="vocabulary_sha256=a1, this one has vocabulary_sha256=b2"):
        toy_train(tmp_path / "a", total_steps=2, model_info=other)
    restore = RestoreCheckpointConfig(str(tmp_path / "a"))
    with pytest.raises(UserError, match="was trained with vocabulary_sha256 a1, this run has b2; "
                       "expected the same vocabulary"):
        toy_train(tmp_path / "b", total_steps=1, restore=restore, model_info=other)
    summary, _ = toy_train(tmp_path / "b", total_steps=1, restore=restore, model_info=info)
    assert summary.step == 1


def test_starts_from_another_run(tmp_path, whole):
    restore = RestoreCheckpointConfig(str(whole.folder))
    frozen = ToyModel(optimizers.adamw(0.1, frozen=[".*kernel"]), mutables=True, level=2)
    summary, said = toy_train(tmp_path, model=frozen, total_steps=3, restore=restore)
    assert f"starting anew: 2 parameters taken from {whole.folder}; 3 codebook arrays" in said
    theirs, ours = load_variables(str(whole.folder)), load_variables(str(tmp_path))
    assert ours["params"]["kernel"].tobytes() == theirs["params"]["kernel"].tobytes()
    assert np.all(ours["params"]["scale"] != theirs["params"]["scale"])
    assert ours["codebook"]["level_1"]["steps"] == 15
    # Resuming does not start again from there.
    summary, _ = toy_train(tmp_path, model=frozen, total_steps=4,
                           restore=RestoreCheckpointConfig("nowhere"))
    assert summary.resumed_from == 3


def test_evaluates_the_same_batches(tmp_path):
    _, said = toy_train(tmp_path, total_steps=6, train_eval_dataset_cfg=ToyData(seed=1, length=3),
                        eval_steps=2, eval_period=3)
    lines = [line for line in said.splitlines() if line.startswith("eval at step")]
    assert [line.split("  ")[0] for line in lines] == ["eval at step 3", "eval at step 6"]


def test_too_little_evaluation_data_is_a_warning(tmp_path, capsys):
    summary, said = toy_train(tmp_path, total_steps=3, train_eval_dataset_cfg=ToyData(length=0))
    assert summary.step == 3 and "eval" not in said
    assert "has no whole batch of 16, so nothing is evaluated" in capsys.readouterr().err


def test_data_that_ends(tmp_path):
    with pytest.raises(UserError, match="data ended after 2 steps; .*num_epochs=None"):
        toy_train(tmp_path, ToyData(length=2))


def test_a_batch_that_the_mesh_does_not_divide(tmp_path):
    with pytest.raises(UserError, match="^BATCH_SIZE is 12, which cannot be split over the mesh"):
        toy_train(tmp_path, ToyData(batch_size=12))
    with pytest.raises(UserError, match="num_microbatches=3 parts; expected a multiple of 24"):
        toy_train(tmp_path, trainer_cls=functools.partial(trainer.Trainer, num_microbatches=3))


def test_nothing_is_saved_without_a_save_config(tmp_path):
    train(model=ToyModel(), model_dir=str(tmp_path), train_dataset_cfg=ToyData(), total_steps=1,
          checkpoint_cfg=CheckpointConfig(save=None), tensorboard=False, stream=io.StringIO(),
          partitioner=Partitioner(devices=jax.devices()[:1]))
    assert os.listdir(tmp_path) == ["model.json"]


def test_tensorboard_events(tmp_path):
    toy_train(tmp_path, total_steps=4, tensorboard=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    assert {"train/loss", "train/learning_rate"} <= set(events.Tags()["tensors"])


def test_the_arithmetic_has_the_models_own_lines(tmp_path):
    model = ToyModel()
    model.arithmetic = lambda spec, layout: [f"negatives: {layout.batch_size - 1} a query"]
    _, said = toy_train(tmp_path, model=model, total_steps=1)
    assert "\nnegatives: 15 a query\n" in said


def test_a_bare_jax_image_can_train(tmp_path):
    program = """
import sys
for name in ("tensorflow", "seqio", "gin", "clu", "tensorboard", "tasks"):
    sys.modules[name] = None  # importing it fails
from gsid_jax.train import train
from tests.gsid_jax.toy_model import ToyData, ToyModel
train(model=ToyModel(), model_dir=sys.argv[1], train_dataset_cfg=ToyData(), total_steps=2,
      tensorboard=False)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert load_variables(str(tmp_path))["params"]["kernel"].shape == (16, 8)
