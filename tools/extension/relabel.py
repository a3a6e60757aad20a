"""Gives a retrained codebook the code numbers of the old one, as far as they mean the same."""

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from gsid_jax import checkpoint_files
from gsid_jax.checkpoints import Checkpoints
from gsid_jax.trainer import TrainState

COLUMNS = {"embedding": 0, "count": 0, "sum": 0, "joint": 1}  # the axis of a codebook's codes


def best_matching(old: np.ndarray, new: np.ndarray, size: int) -> np.ndarray:
    """The renumbering of new codes that keeps most items' codes: int64 [K], new code -> old code.

    ``old`` and ``new`` int [N] are the codes of the same items. Codes without items take the
    numbers left over, in order.
    """
    both = np.zeros((size, size), np.int64)
    np.add.at(both, (new, old), 1)
    rows, numbers = linear_sum_assignment(both, maximize=True)
    return numbers[np.argsort(rows)]


def relabel_codebook(codebook: Mapping[str, Any], level: int, number: np.ndarray) -> dict[str, Any]:
    """The collection "codebook" with code k of ``level``, its last one, called ``number[k]``."""
    old_of = np.argsort(number)
    name = f"level_{level}"
    renamed = {key: np.take(value, old_of, axis=COLUMNS[key]) if key in COLUMNS else value
               for key, value in codebook[name].items()}
    return {**codebook, name: renamed}


def write_relabelled(model_dir: pathlib.Path, output_dir: pathlib.Path, level: int,
                     number: np.ndarray) -> None:
    """Writes MODEL_DIR again with the codes of ``level`` renumbered; without optimizer state."""
    rewrite(model_dir, output_dir, lambda collections: {
        **collections, "codebook": relabel_codebook(collections["codebook"], level, number)})


def rewrite(model_dir: pathlib.Path, output_dir: pathlib.Path,
            change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Writes MODEL_DIR again, its collections besides params as `change` makes them.

    Without optimizer state. Appears complete or not at all.
    """
    checkpoint = checkpoint_files.find(str(model_dir))[0]
    loop = checkpoint_files.read_loop(checkpoint)
    collections = dict(checkpoint_files.load_variables(checkpoint))
    params = collections.pop("params")
    partial = output_dir.with_name(output_dir.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ("config.gin", "model.json"):
        shutil.copy2(model_dir / name, partial / name)
    saver = Checkpoints(str(partial))
    kept = {name: value for name, value in loop.items()
            if name not in ("step", "rng", "empty", "checksums")}
    saver.save(TrainState(step=jnp.int32(loop["step"]), params=params, opt_state=(),
                          flax_mutables=change(collections),
                          rng=jnp.asarray(loop["rng"], jnp.uint32)), kept)
    saver.close()
    os.replace(partial, output_dir)
