"""A pipeline run in small for tests of inference: dataset, vocabulary and two untrained steps."""

import json
import pathlib

import gin
import jax
import jax.numpy as jnp

from gsid_jax import checkpoints, launch, manifest, train, trained_model
from gsid_jax.trainer import TrainState
from tasks import location
from tools import build_dataset, train_vocab

ITEMS = 150
BRANDS = ("apple", "sony", "canon", "lego", "nike", "ikea", "bosch")
THINGS = ("phone", "camera", "jacket", "table lamp", "brick set", "running shoes")
SIZES = {"VOCAB_SIZE": 256, "CODEBOOK_SIZE": 8, "NUM_LEVELS": 2, "TRAIN_STEPS": 1,
         "TASK_FEATURE_LENGTHS": {"inputs": 20, "queries": 12}}
NETWORK = {"emb_dim": 16, "num_heads": 2, "head_dim": 8, "mlp_dim": 16, "num_encoder_layers": 1}


def titles(count: int) -> list[str]:
    """Titles of listings, of several lengths."""
    return [f"used {BRANDS[i % 7]} {THINGS[i % 6]} {'in good condition ' * (i % 4)}number {i}"
            for i in range(count)]


def write_jsonl(path: pathlib.Path, records: list[dict]) -> pathlib.Path:
    """Writes one record a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_data(root: pathlib.Path) -> pathlib.Path:
    """Builds the dataset ``root/data``."""
    items = [{"item_id": f"i{i}", "title": title} for i, title in enumerate(titles(ITEMS))]
    clicks = [{"query": f"{brand} {THINGS[i % 6]}", "item_id": f"i{i}", "click": 1 + i % 3}
              for i in range(ITEMS) for brand in {BRANDS[i % 7], BRANDS[i * i % 7], "cheap"}]
    build_dataset.build_dataset(
        write_jsonl(root / "items.jsonl", items), write_jsonl(root / "interactions.jsonl", clicks),
        root / "data", validation_fraction=0.1)
    return root / "data"


def bindings(level: int) -> list[str]:
    """gin bindings of a tiny step."""
    network = {f"network.T5Config.{name}": value for name, value in NETWORK.items()}
    return [f"{name} = {value!r}" for name, value in (SIZES | network | {"LEVEL": level}).items()]


def write_step(run_dir: pathlib.Path, level: int) -> None:
    """Writes step_<level> as training would leave it, with random parameters."""
    model_dir = run_dir / f"step_{level}"
    launch.parse_gin(
        ["gin_configs/models/tiny.gin", f"gin_configs/runs/gsid_step_{level}.gin"],
        [f"RUN_DIR = {str(run_dir)!r}", *bindings(level), *trained_model.BINDINGS])
    model = trained_model.configuration()[0]
    params, codebook = jax.jit(lambda key: [
        model.get_initial_variables(key)[name] for name in ("params", "codebook")])(
            jax.random.key(0))
    state = TrainState(
        step=jnp.int32(1), params=params, opt_state=(), flax_mutables={"codebook": codebook},
        rng=jax.random.key_data(jax.random.key(0)))
    saver = checkpoints.Checkpoints(str(model_dir))
    saver.save(state, {"stage": f"step_{level}"})
    saver.close()
    (model_dir / "config.gin").write_text(gin.config_str(), encoding="utf-8")
    vocabulary = run_dir / "vocab" / "sentencepiece.model"
    manifest.write_json(model_dir / "model.json", train.describe(
        model, {"vocabulary_sha256": manifest.file_hash(vocabulary)}))


def write(run_dir: pathlib.Path) -> None:
    """Writes a run of two finished steps."""
    write_data(run_dir)
    train_vocab.train_vocab(run_dir / "data", run_dir / "vocab", 120)
    for level in (1, 2):
        write_step(run_dir, level)
        (run_dir / f"step_{level}" / "assignment").mkdir()  # marks the step as finished
    forget()


def forget() -> None:
    """Clears what a load leaves in this process."""
    location.reset()
    with gin.unlock_config():
        gin.clear_config()
