"""Finding a trained model and refusing what does not belong together."""

import json
import shutil

import gin
import numpy as np
import pytest

from gsid_jax import checkpoint_files, trained_model
from gsid_jax.errors import UserError
from tasks import location
from tests.gsid_jax import tiny_run
from tools import train_vocab


@pytest.fixture(autouse=True)
def clean():
    yield
    tiny_run.forget()


@pytest.fixture
def copied(tiny_run_dir, tmp_path):
    """A copy of step 2 and of the vocabulary that a test may change."""
    shutil.copytree(tiny_run_dir / "step_2", tmp_path / "run" / "step_2")
    shutil.copytree(tiny_run_dir / "vocab", tmp_path / "run" / "vocab")
    return tmp_path / "run"


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_last_finished_step_is_taken(tiny_run_dir):
    trained = trained_model.load_run(tiny_run_dir)
    assert trained.model.level == 2 and "step_2" in trained.source
    assert trained.feature_lengths == {"inputs": 20, "queries": 12}
    assert trained_model.load_run(tiny_run_dir, 1).model.level == 1


def test_the_variables_are_the_checkpoints(tiny_run_dir):
    trained = trained_model.load_run(tiny_run_dir)
    saved = checkpoint_files.load_variables(str(tiny_run_dir / "step_2"))
    np.testing.assert_array_equal(trained.variables["params"]["bos"], saved["params"]["bos"])
    codes = trained.encoder(batch_size=32).encode(["used apple phone"])["codes"]
    assert codes.shape == (1, 2)


def test_a_copy_elsewhere_gives_the_same_model(tiny_run_dir, copied):
    assert trained_model.load_run(copied).hash == trained_model.load_run(tiny_run_dir).hash


def test_the_hash_tells_models_apart(tiny_run_dir):
    trained = trained_model.load_run(tiny_run_dir)
    before = trained.hash
    trained.variables["params"]["bos"][0] += 1
    assert trained.hash != before


def test_gin_files_take_the_place_of_a_run(tiny_run_dir):
    trained = trained_model.load(
        ["gin_configs/models/tiny.gin", "gin_configs/runs/infer.gin"], tiny_run_dir / "step_2",
        [*tiny_run.bindings(2),
         f"VOCABULARY = '{tiny_run_dir / 'vocab' / 'sentencepiece.model'}'"])
    assert trained.hash == trained_model.load_run(tiny_run_dir).hash


@pytest.mark.parametrize("run, step, message", [
    ("missing", None, "run directory .*missing does not exist; expected what the pipeline"),
    ("", None, "has no finished step; expected step_1/assignment"),
    ("", 3, "no checkpoint at .*step_3; expected a MODEL_DIR"),
])
def test_missing_runs_and_checkpoints(tmp_path, run, step, message):
    with pytest.raises(UserError, match=message):
        trained_model.load_run(tmp_path / run, step)


def test_another_vocabulary_is_refused(copied, tiny_run_dir):
    shutil.rmtree(copied / "vocab")
    train_vocab.train_vocab(tiny_run_dir / "data", copied / "vocab", 60)
    with pytest.raises(UserError, match="is not the one checkpoint .* was trained with.*expected "
                                        "the same file"):
        trained_model.load_run(copied)


def test_a_vocabulary_larger_than_the_embedding_is_refused(copied):
    (copied / "step_2" / "model.json").unlink()
    with pytest.raises(UserError, match=r"has \d+ ids, but the model's embedding only 32 "
                                        r"\(network.T5Config.vocab_size\)"):
        trained_model.load_run(copied, bindings=["VOCAB_SIZE = 32"])


@pytest.mark.parametrize("changes, message", [
    ({"level": 1}, "is of level 1, but MODEL has level 2; .*set gsid_model.GSIDModel.level = 1"),
    ({"model": "PretrainModel"}, "is of a PretrainModel, but MODEL is a GSIDModel"),
])
def test_another_model_is_refused(copied, changes, message):
    edit(copied / "step_2" / "model.json", **changes)
    with pytest.raises(UserError, match=message):
        trained_model.load_run(copied)


def test_other_sizes_are_refused(copied):
    with pytest.raises(UserError, match="does not fit MODEL: .*shape.*expected the same sizes"):
        trained_model.load_run(copied, bindings=["network.T5Config.emb_dim = 24"])


def test_broken_model_info_is_named(copied):
    (copied / "step_2" / "model.json").write_text("{")
    with pytest.raises(UserError, match="model.json cannot be read as JSON"):
        trained_model.load_run(copied)


def test_vocabulary_info(tiny_run_dir):
    trained = trained_model.load_run(tiny_run_dir)
    info = trained_model.vocabulary_info(trained.vocabulary)
    assert info["extra_ids"] == 16 and info["vocabulary_size"] == trained.vocabulary.vocab_size


def test_nothing_is_left_behind_for_later_tasks(tiny_run_dir):
    before = location.current()
    trained_model.load_run(tiny_run_dir)
    with gin.unlock_config():
        gin.clear_config()
    assert location.current() == before


def test_a_model_split_over_devices_gives_the_same(tiny_run_dir):
    texts = ["used apple phone", "lego brick set in good condition"]
    whole = trained_model.load_run(tiny_run_dir).encoder(batch_size=8).encode(texts)
    split = trained_model.load_run(
        tiny_run_dir, bindings=["NUM_PARTITIONS = 2", "FSDP = True"])
    assert split.partitioner.mesh.shape == {"data": 4, "model": 2}
    parts = split.encoder(batch_size=8).encode(texts)
    np.testing.assert_array_equal(parts["codes"], whole["codes"])
    np.testing.assert_allclose(parts["embedding"], whole["embedding"], atol=1e-5)
