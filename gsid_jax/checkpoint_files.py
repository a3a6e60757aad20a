"""The files of one checkpoint, read without a manager: shapes, arrays, variables for inference.

A checkpoint is a directory with the items `params`, `opt_state` and `flax_mutables` (arrays, by
Orbax), `loop` (JSON) and `data` (the position in the training data). Those that T5X writes are
found and read as well (`t5x_checkpoints`).
"""

import json
import os
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from gsid_jax import t5x_checkpoints
from gsid_jax.errors import UserError
from gsid_jax.partitioning import leaf_name

PyTree = Any
FOLDER = "checkpoints"  # in MODEL_DIR


def warn(message: str) -> None:
    """Prints a warning on the standard error stream of the first host."""
    if jax.process_index() == 0:
        print(f"warning: {message}", file=sys.stderr, flush=True)


def first_line(error: Exception) -> str:
    """The error's class and the start of its message."""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:200]}{'...' if len(line) > 200 else ''}"


def by_name(tree: PyTree) -> dict[str, Any]:
    """{path: leaf} in the tree's own order."""
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def without_empty(tree: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Takes out arrays without elements, which Orbax cannot save: rest, {path: [shape, dtype]}."""
    rest, empty = {}, {}
    for name, leaf in tree.items():
        if isinstance(leaf, dict):
            inner, inner_empty = without_empty(leaf)
            if inner:
                rest[name] = inner
            empty |= {f"{name}/{key}": value for key, value in inner_empty.items()}
        elif leaf.size == 0:
            empty[name] = [list(leaf.shape), str(leaf.dtype)]
        else:
            rest[name] = leaf
    return rest, empty


class DamagedError(Exception):
    """What was read is not what was written."""


@jax.jit
def _device_checksums(tree: PyTree) -> PyTree:
    def checksum(x):
        if x.dtype == jnp.bool_:
            x = x.astype(jnp.uint8)
        bits = jax.lax.bitcast_convert_type(x, f"uint{8 * min(x.dtype.itemsize, 4)}")
        return jnp.sum(bits.astype(jnp.uint32), dtype=jnp.uint32)
    return jax.tree.map(checksum, tree)


def checksums(tree: PyTree) -> dict[str, int]:
    """{path: sum of the array's bits as uint32 words}, the same for any sharding of it.

    Orbax's files have no checksum of the array data of their own.
    """
    return {name: int(value) for name, value in
            by_name(jax.device_get(_device_checksums(tree))).items()}


def read_loop(path: str) -> dict[str, Any]:
    """The `loop` item."""
    with open(os.path.join(path, "loop", "metadata"), encoding="utf-8") as file:
        return json.load(file)


def saved_shapes(path: str, item: str, loop: dict[str, Any]) -> PyTree:
    """The shapes of one item as saved; {} if it holds nothing. Reads no array."""
    tree = {}
    folder = os.path.join(path, item)
    if os.path.isdir(folder):
        metadata = ocp.PyTreeCheckpointHandler().metadata(_path(folder)).tree
        tree = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), metadata)
    elif item == "params":
        raise FileNotFoundError(f"{folder} is missing")
    for name, (shape, dtype) in loop.get("empty", {}).get(item, {}).items():
        node = tree
        parts = [name] if item == "opt_state" else name.split("/")
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
    return tree


def _path(folder: str):
    return ocp.path.step.epath.Path(folder)


def read_item(path: str, item: str, loop: dict[str, Any], shapes: PyTree,
              shardings: PyTree | None = None) -> PyTree:
    """Reads one item's arrays: onto devices as `shardings` say, or numpy without shardings.

    Raises DamagedError if they are not those that were saved.
    """
    places = {} if shardings is None else by_name(shardings)

    def how(key, leaf):
        if shardings is None:
            return ocp.RestoreArgs(restore_type=np.ndarray)
        return ocp.ArrayRestoreArgs(sharding=places[leaf_name(key)], global_shape=leaf.shape,
                                    dtype=leaf.dtype)

    full, _ = without_empty(shapes)
    values = {}
    if full:
        args = ocp.args.PyTreeRestore(
            item=full, restore_args=jax.tree_util.tree_map_with_path(how, full))
        values = by_name(ocp.PyTreeCheckpointHandler().restore(
            _path(os.path.join(path, item)), args=args))
        expected = loop["checksums"][item]
        for name, found in checksums(values).items():
            if found != expected[name]:
                raise DamagedError(f"{item}/{name} differs from what was saved: checksum {found}, "
                                   f"expected {expected[name]}")

    def value(key, leaf):
        if leaf.size:
            return values[leaf_name(key)]
        empty = np.zeros(leaf.shape, leaf.dtype)
        return empty if shardings is None else jax.device_put(empty, places[leaf_name(key)])

    return jax.tree_util.tree_map_with_path(value, shapes)


def differences(saved: PyTree, wanted: PyTree) -> dict[str, str]:
    """What keeps `saved` from filling `wanted`: {leaf: what is wrong, with both shapes}."""
    have, want = by_name(saved), by_name(wanted)
    problems = {}
    for name, leaf in want.items():
        shape = tuple(leaf.shape)
        if name not in have:
            problems[name] = f"{name} is missing there; the model has it with shape {shape}"
        elif tuple(have[name].shape) != shape:
            problems[name] = (f"{name} has shape {tuple(have[name].shape)} there and {shape} in "
                              "the model")
    for name, leaf in have.items():
        if name not in want:
            problems[name] = f"{name} of shape {tuple(leaf.shape)} is there but not in the model"
    return problems


def listed(problems: dict[str, str], most: int = 3) -> str:
    """The first problems as one phrase."""
    more = len(problems) - most
    shown = "; ".join(list(problems.values())[:most])
    return shown + (f"; and {more} more" if more > 0 else "")


def find(path: str, step: int | None = None) -> list[str]:
    """The finished checkpoints at `path`, newest first: MODEL_DIR, its folder, or one checkpoint.

    Raises UserError if there is none, or none of `step`.
    """
    path = os.path.abspath(path)
    if os.path.isdir(os.path.join(path, "params")) or t5x_checkpoints.is_one(path):
        return [path]
    if theirs := t5x_checkpoints.steps(path):
        return _of_step(path, theirs, step)
    folder = os.path.join(path, FOLDER)
    if not os.path.isdir(folder):
        folder = path
    steps = []
    if os.path.isdir(folder):
        steps = sorted((int(name) for name in os.listdir(folder) if name.isdecimal()
                        and ocp.utils.is_checkpoint_finalized(os.path.join(folder, name))),
                       reverse=True)
    if not steps:
        raise UserError(
            f"no checkpoint at {path}; expected a MODEL_DIR with {FOLDER}/<step>/, or one such "
            "directory: train first, or correct the path (INITIAL_CHECKPOINT_PATH in training)")
    return _of_step(path, {n: os.path.join(folder, str(n)) for n in steps}, step)


def _of_step(path: str, checkpoints: dict[int, str], step: int | None) -> list[str]:
    """Those asked for of {step: checkpoint}, newest first."""
    if step is not None and step not in checkpoints:
        raise UserError(f"no checkpoint of step {step} at {path}; there are those of steps "
                        f"{sorted(checkpoints)}: name one of them")
    return [checkpoints[n] for n in sorted(checkpoints, reverse=True) if step in (None, n)]


def model_dir_of(checkpoint: str) -> str:
    """The MODEL_DIR of one checkpoint that `find` returned."""
    above = os.path.dirname(checkpoint)
    return above if t5x_checkpoints.is_one(checkpoint) else os.path.dirname(above)


def step_of(path: str, step: int | None = None) -> int:
    """The training step of the checkpoint that `find` puts first."""
    return int(re.search(r"(\d*)$", find(path, step)[0])[0] or 0)


def check_fit(checkpoint: str, variables: PyTree, wanted: PyTree) -> None:
    """Raises UserError if what was loaded is not what a model has, naming leaves and shapes."""
    if problems := differences(variables, wanted):
        raise UserError(f"checkpoint {checkpoint} does not fit MODEL: {listed(problems)}; expected "
                        "the same sizes (network.T5Config): give the gin files it was trained with")


def _read_variables(checkpoint: str) -> tuple[PyTree, PyTree]:
    if t5x_checkpoints.is_one(checkpoint):
        return t5x_checkpoints.read(checkpoint)
    loop = read_loop(checkpoint)
    params, mutables = (read_item(checkpoint, item, loop, saved_shapes(checkpoint, item, loop))
                        for item in ("params", "flax_mutables"))
    return params, mutables


def load_variables(path: str, step: int | None = None) -> dict[str, PyTree]:
    """{'params': ..., and collections such as 'codebook': ...} as numpy arrays.

    `path` is a MODEL_DIR (the newest whole checkpoint is taken, or that of `step`) or one
    checkpoint. Raises UserError if there is none, or none can be read.
    """
    failures = []
    for checkpoint in find(path, step):
        try:
            params, mutables = _read_variables(checkpoint)
        except Exception as error:  # whatever a damaged file makes Orbax raise
            failures.append(f"{checkpoint} ({first_line(error)})")
            continue
        for failure in failures:
            warn(f"checkpoint {failure} is damaged; {checkpoint} is used")
        return {"params": params, **mutables}
    raise UserError(f"no checkpoint at {path} can be read: {failures[0]}; expected a whole one: "
                    "restore its files or train again")
