"""The shipped gin files: they parse, build what they say, and survive a round trip."""

import glob
import os

import gin
import jax
import numpy as np
import pytest

from gsid_jax import gin_setup, launch
from gsid_jax.errors import UserError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODELS = sorted(os.path.basename(path) for path in glob.glob(f"{ROOT}/gin_configs/models/*.gin"))
GIVEN = ["RUN_DIR = 'runs/x'", "TRAIN_STEPS = 1000"]


@pytest.fixture(autouse=True)
def clean_gin():
    yield
    with gin.unlock_config():
        gin.clear_config()


def parse(model, run, *bindings):
    launch.parse_gin([f"gin_configs/models/{model}", f"gin_configs/runs/{run}"],
                     [*GIVEN, *bindings])


def train_arguments():
    """What `train` would be called with."""
    return gin.get_bindings("gsid_jax.train.train")


@pytest.mark.parametrize("model,trunk", [
    ("tiny.gin", 656_192), ("small.gin", 76_961_152), ("base.gin", 247_577_856),
    ("mengzi_base.gin", 247_577_856), ("mt5_base.gin", 582_401_280),
    ("t5_1_1_large.gin", 783_150_080)])
def test_models(model, trunk):
    """As many parameters as the T5 of that name, and our bos and code embeddings."""
    parse(model, "pretrain.gin", "SCAN_LAYERS = True")  # one layer stands for all: fast
    built = train_arguments()["model"]
    c = built.module.config
    shapes = jax.eval_shape(built.get_initial_variables, jax.random.key(0))["params"]
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == trunk + c.emb_dim * (1 + (c.num_levels - 1) * c.codebook_size)


def test_pretrain():
    parse("tiny.gin", "pretrain.gin", "BATCH_SIZE = 64", "FROZEN = ('encoder/.*',)")
    given = train_arguments()
    assert type(given["model"]).__name__ == "PretrainModel"
    assert given["model_dir"] == "runs/x/pretrain" and given["total_steps"] == 1000
    assert given["train_dataset_cfg"].mixture_or_task_name == "gsid_pretrain"
    assert given["train_dataset_cfg"].batch_size == 64
    assert given["train_eval_dataset_cfg"].split == "validation"
    assert given["checkpoint_cfg"].restore.path is None
    assert given["checkpoint_cfg"].save.period == 1000


@pytest.mark.parametrize("t,initial", [(1, "pretrain"), (2, "step_1"), (3, "step_2"),
                                       (4, "step_3")])
def test_each_step_includes_the_one_before(t, initial):
    parse("base.gin", f"gsid_step_{t}.gin")
    given = train_arguments()
    assert given["model"].level == t and given["guard"].level == t
    assert given["stage"] == f"step_{t}" and given["model_dir"] == f"runs/x/step_{t}"
    assert given["checkpoint_cfg"].restore.path == f"runs/x/{initial}"
    from tasks import location
    place = location.data_location()
    assert place.step_dir == ("" if t == 1 else f"runs/x/step_{t - 1}/assignment")
    assert place.data_dir == "runs/x/data" and place.extra_ids == 16
    with open(f"{ROOT}/gin_configs/runs/gsid_step_{t}.gin", encoding="utf-8") as file:
        before = "gsid_step.gin" if t == 1 else f"gsid_step_{t - 1}.gin"
        assert f"include 'gin_configs/runs/{before}'" in file.read()


def test_the_configuration_in_force_can_be_read_again(tmp_path):
    parse("tiny.gin", "gsid_step_2.gin", "GSIDModel.tau = 0.07", "LEARNING_RATE = 0.5")
    first = train_arguments()
    with pytest.raises(UserError, match="TRAIN_STEPS is 0"):  # gin has seen all that is used
        gin_setup.train(total_steps=0)
    text = launch.config_text()
    (tmp_path / "config.gin").write_text(text)
    launch.parse_gin([str(tmp_path / "config.gin")])
    again = train_arguments()
    assert again["model"].tau == 0.07 and again["model"].level == 2
    assert again["model"].module == first["model"].module
    assert again["train_dataset_cfg"] == first["train_dataset_cfg"]
    assert again["checkpoint_cfg"] == first["checkpoint_cfg"]
    assert gin.query_parameter("TASK_FEATURE_LENGTHS/macro.value") == {"inputs": 64, "queries": 32}


def test_steps_need_a_place():
    launch.parse_gin(["gin_configs/models/tiny.gin", "gin_configs/runs/gsid_step_1.gin"],
                     ["TRAIN_STEPS = 1000"])
    with pytest.raises(UserError, match="RUN_DIR is not set, so there is no place for 'step_1'"):
        train_arguments()


def test_required_values_are_named():
    with pytest.raises(UserError, match="required but not set: TRAIN_STEPS; "):
        launch.parse_gin(["gin_configs/models/tiny.gin", "gin_configs/runs/pretrain.gin"])
    with pytest.raises(UserError, match="not set: EXTRA_IDS, NETWORK; .*gin_configs/models"):
        launch.parse_gin(["gin_configs/runs/pretrain.gin"], GIVEN)


def test_gin_files_are_short():
    for path in glob.glob(f"{ROOT}/gin_configs/*/*.gin"):
        with open(path, encoding="utf-8") as file:
            assert len(file.readlines()) <= 90, path


def test_names_can_be_suggested():
    assert {"T5Config", "network.T5Config", "train.train", "GSIDModel"} <= set(gin_setup.names())
