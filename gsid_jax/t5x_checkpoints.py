"""Checkpoints that T5X writes, read without T5X: MODEL_DIR/checkpoint_<step>/.

Two layouts. Today's T5X saves one Orbax item `state` with `target` (the parameters), `state` (step
and optimizer) and `flax_mutables`. Before, and for all published T5 checkpoints, a file
`checkpoint` (msgpack) holds the small arrays and names a TensorStore folder for each large one.
"""

import os
import re
from typing import Any

import numpy as np

PyTree = Any
PREFIX = "checkpoint_"
STATE, LEGACY = "state", "checkpoint"


def is_one(path: str) -> bool:
    """Whether a directory is a checkpoint of T5X."""
    return os.path.isfile(os.path.join(path, LEGACY)) or (
        os.path.isdir(os.path.join(path, STATE))
        and os.path.basename(path).startswith(PREFIX))


def steps(model_dir: str) -> dict[int, str]:
    """{step: checkpoint} of a directory that T5X wrote into."""
    found = {}
    for name in os.listdir(model_dir) if os.path.isdir(model_dir) else ():
        match = re.fullmatch(rf"{PREFIX}(\d+)", name)
        if match and is_one(os.path.join(model_dir, name)):
            found[int(match[1])] = os.path.join(model_dir, name)
    return found


def read(checkpoint: str) -> tuple[PyTree, PyTree]:
    """Parameters and mutable collections as numpy arrays; the optimizer's state is left there."""
    legacy = os.path.join(checkpoint, LEGACY)
    tree = _read_legacy(checkpoint) if os.path.isfile(legacy) else _read_orbax(checkpoint)
    return with_bos(tree["target"]), tree.get("flax_mutables", {})


def with_bos(params: PyTree) -> PyTree:
    """A native T5's parameters under our names; ours are returned as they are.

    T5X keeps the head in the decoder, and its decoder starts with the pad token's embedding.
    """
    if "bos" in params or "token_embedder" not in params:
        return params
    decoder = dict(params["decoder"])
    moved = {name: decoder.pop(name) for name in ("logits_dense",) if name in decoder}
    return {**params, **moved, "decoder": decoder,
            "bos": np.array(params["token_embedder"]["embedding"][0])}


def _read_orbax(checkpoint: str) -> PyTree:
    import jax
    import orbax.checkpoint as ocp
    folder = ocp.path.step.epath.Path(os.path.join(checkpoint, STATE))
    handler = ocp.PyTreeCheckpointHandler()
    metadata = handler.metadata(folder).tree
    wanted = {name: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), part)
              for name, part in metadata.items() if name in ("target", "flax_mutables")}
    if "target" not in wanted:
        raise FileNotFoundError(f"{folder} holds no parameters (target)")
    how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    return handler.restore(folder, args=ocp.args.PyTreeRestore(
        item=wanted, restore_args=how, partial_restore=True))


def _read_legacy(checkpoint: str) -> PyTree:
    from flax import serialization
    with open(os.path.join(checkpoint, LEGACY), "rb") as file:
        tree = serialization.msgpack_restore(file.read())
    tree = tree.get("optimizer", tree)
    return {name: _filled(checkpoint, tree[name]) for name in ("target", "flax_mutables")
            if name in tree}


def _filled(checkpoint: str, node: Any) -> Any:
    """The tree with the arrays that lie in TensorStore folders."""
    if not isinstance(node, dict):
        return np.asarray(node, np.float32) if _is_float(node) else np.asarray(node)
    if "driver" not in node or "kvstore" not in node:
        return {name: _filled(checkpoint, value) for name, value in node.items()}
    import tensorstore
    path = os.path.join(checkpoint, os.path.basename(node["kvstore"]["path"].rstrip("/")))
    spec = {"driver": node["driver"], "kvstore": {"driver": "file", "path": path}}
    array = tensorstore.open(spec, open=True, read=True).result().read().result()
    return _filled(checkpoint, array)


def _is_float(array: Any) -> bool:
    return "float" in str(getattr(array, "dtype", ""))
