"""T5X itself launches our models: run where t5x is importable (docs/t5.md), pytest -m t5x.

Each command is a program of its own, as users start it.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("t5x")

from gsid_jax import checkpoint_files, trained_model  # noqa: E402
from tests.gsid_jax import tiny_run  # noqa: E402
from tools import t5x_chain  # noqa: E402

pytestmark = pytest.mark.t5x
ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = {"VOCAB_SIZE": 256, "CODEBOOK_SIZE": 8, "NUM_LEVELS": 2, "DROPOUT_RATE": 0.0,
         "BATCH_SIZE": 16} | {f"network.T5Config.{name}": value
                              for name, value in tiny_run.NETWORK.items()}
LENGTHS = {"pretrain": {"inputs": 20, "targets": 16}, "step": {"inputs": 20, "queries": 12}}
STEPS = 20
TOLERANCE = 1e-4  # relative, of the first 20 losses; two Adafactors in float32


def launch(module, file, run_dir, *flags, **values):
    command = [sys.executable, "-m", module, "--gin_file=gin_configs/models/tiny.gin",
               f"--gin_file={file}", *flags,
               *t5x_chain.gin_flags(RUN_DIR=str(run_dir), **MODEL, **values)]
    if module.startswith("t5x"):
        command.append("--gin_search_paths=.")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""})
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def run_dir(tiny_run_dir):
    """The tiny run; its untrained step_1 is where every launch starts."""
    return tiny_run_dir


@pytest.fixture(scope="module")
def started(run_dir, tmp_path_factory):
    """pretrain and step_1 by both launchers from the same weights: MODEL_DIRs."""
    places = tmp_path_factory.mktemp("launches")
    for stage, file in (("pretrain", "pretrain"), ("step", "gsid_step_1")):
        common = {"INITIAL_CHECKPOINT_PATH": str(run_dir / "step_1"), "TRAIN_STEPS": STEPS,
                  "WARMUP_STEPS": 4, "LEARNING_RATE": 0.01, "TASK_FEATURE_LENGTHS": LENGTHS[stage]}
        common |= {"CONTRASTIVE_ONLY_STEPS": 8} if stage == "step" else {}
        launch("t5x.train", f"gin_configs/t5x/{file}.gin", run_dir, **common,
               MODEL_DIR=str(places / f"{stage}_t5x"), STATS_PERIOD=1, EVAL_PERIOD=STEPS,
               EVAL_STEPS=1, CHECKPOINT_PERIOD=STEPS)
        extra = {"GUARD": "off"} if stage == "step" else {"EVAL_PERIOD": 1000}
        launch("gsid_jax.train", f"gin_configs/runs/{file}.gin", run_dir,
               "--gin.OPTIMIZER=@optimizers.adafactor()", **common, **extra,
               MODEL_DIR=str(places / f"{stage}_ours"), LOG_PERIOD=1)
    return places


@pytest.mark.parametrize("stage", ["pretrain", "step"])
def test_the_first_losses_agree(started, stage):
    theirs = t5x_chain.losses(started / f"{stage}_t5x" / "train")
    ours = t5x_chain.losses(started / f"{stage}_ours" / "tensorboard")
    assert len(theirs) == len(ours) == STEPS
    np.testing.assert_allclose(theirs, ours, rtol=TOLERANCE)


@pytest.mark.parametrize("stage", ["pretrain", "step"])
def test_what_both_left_is_the_same(started, stage):
    theirs, ours = (checkpoint_files.by_name(checkpoint_files.load_variables(
        str(started / f"{stage}_{launcher}"))) for launcher in ("t5x", "ours"))
    assert theirs.keys() == ours.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=2e-2, atol=2e-3, err_msg=name)


def test_codebooks_of_other_levels_are_frozen(started, run_dir):
    before = checkpoint_files.load_variables(str(run_dir / "step_1"))["codebook"]
    after = checkpoint_files.load_variables(str(started / "step_t5x"))["codebook"]
    for name, value in before["level_2"].items():
        np.testing.assert_array_equal(after["level_2"][name], value, err_msg=name)
    assert np.abs(after["level_1"]["embedding"] - before["level_1"]["embedding"]).max() > 0
    assert after["level_1"]["steps"] == STEPS


def test_infer_and_eval_read_both_formats(started, run_dir, tmp_path):
    """t5x.infer on our checkpoint and on its own; ours on its own; the same IDs throughout."""
    for name in ("step_ours", "step_t5x"):
        model_dir = started / name
        launch("t5x.infer", "gin_configs/t5x/infer.gin", run_dir, LEVEL=1,
               CHECKPOINT_PATH=str(model_dir), INFER_OUTPUT_DIR=str(tmp_path / name),
               TASK_FEATURE_LENGTHS={"inputs": 20})
        file = tmp_path / name / "gsid_items-predict_with_aux.jsonl-00000-of-00001"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert len(rows) == tiny_run.ITEMS and rows[3]["id"] == "i3"
        encoder = trained_model.load((), model_dir).encoder()
        found = encoder.encode(tiny_run.titles(tiny_run.ITEMS), "item")
        tiny_run.forget()
        np.testing.assert_array_equal([row["codes"] for row in rows], found["codes"])
    done = launch("t5x.eval", "gin_configs/t5x/eval.gin", run_dir, LEVEL=1,
                  CHECKPOINT_PATH=str(started / "step_t5x"), EVAL_OUTPUT_DIR=str(tmp_path / "eval"),
                  TASK_FEATURE_LENGTHS={"inputs": 20})
    assert "gsid_code_accuracy/l1_raw at step 20" in done.stderr
    done = launch("t5x.eval", "gin_configs/t5x/eval_pretrain.gin", run_dir,
                  CHECKPOINT_PATH=str(started / "pretrain_t5x"),
                  EVAL_OUTPUT_DIR=str(tmp_path / "pretrain"),
                  TASK_FEATURE_LENGTHS={"inputs": 20, "targets": 12})
    assert "gsid_query_generation/exact_match at step 20" in done.stderr


def test_a_native_t5x_checkpoint_starts_a_training(run_dir, tmp_path):
    """T5X's own T5 1.1, saved by T5X, as INITIAL_CHECKPOINT_PATH of both launchers."""
    import jax
    from t5x import adafactor, checkpoints, partitioning, train_state
    from t5x.examples.t5 import network
    config = network.T5Config(
        vocab_size=256, dtype="float32", emb_dim=16, num_heads=2, num_encoder_layers=1,
        num_decoder_layers=1, head_dim=8, mlp_dim=16, mlp_activations=("gelu", "linear"),
        dropout_rate=0.0, logits_via_embedding=True)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        module = network.Transformer(config)
        tokens = np.ones((2, 4), np.int32)
        variables = module.init(jax.random.PRNGKey(0), tokens, tokens, tokens, enable_dropout=False)
        state = train_state.FlaxOptimTrainState.create(adafactor.Adafactor(), variables)
        saver = checkpoints.Checkpointer(state, partitioning.PjitPartitioner(num_partitions=1),
                                         str(tmp_path / "native"))
        saver.save(state)
    found = checkpoint_files.load_variables(str(tmp_path / "native"))["params"]
    for name, value in checkpoint_files.by_name(variables["params"]).items():
        np.testing.assert_array_equal(checkpoint_files.by_name(found)[name], value, err_msg=name)
    fresh = ["params/code_embedders_.*"]
    common = {"INITIAL_CHECKPOINT_PATH": str(tmp_path / "native"), "TRAIN_STEPS": 2,
              "WARMUP_STEPS": 0, "TASK_FEATURE_LENGTHS": LENGTHS["pretrain"],
              "EVAL_PERIOD": 2, "CHECKPOINT_PERIOD": 2}
    done = launch("gsid_jax.train", "gin_configs/runs/pretrain.gin", run_dir, **common,
                  MODEL_DIR=str(tmp_path / "ours"),
                  **{"checkpoints.RestoreCheckpointConfig.fresh": fresh})
    assert "parameters taken" in done.stdout and "1 fresh" in done.stdout
    done = launch("t5x.train", "gin_configs/t5x/pretrain.gin", run_dir, **common, FRESH=fresh,
                  MODEL_DIR=str(tmp_path / "theirs"), EVAL_STEPS=1, STATS_PERIOD=1)
    assert "parameters taken" in done.stdout and "1 fresh" in done.stdout
