"""The weights of a Hugging Face folder: safetensors or .bin, in one file or in shards."""

import json
import os
import pathlib

import numpy as np

from gsid_jax.errors import UserError
from tools.hf_t5 import torch_file

# In the order in which transformers looks for them.
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
         "pytorch_model.bin.index.json")


def safetensors_numpy():
    """safetensors.numpy; UserError that names the extra to install if it is missing."""
    try:
        from safetensors import numpy
    except ImportError as error:
        raise UserError("safetensors is not installed; expected it for Hugging Face weights: "
                        "pip install gsid_jax[hf]") from error
    return numpy


def read(folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """{name: array} of all weights in the folder, in the dtype they are stored in.

    Raises UserError if the folder holds none, a shard is missing, or a file cannot be read.
    """
    folder = pathlib.Path(folder)
    found = [name for name in FILES if (folder / name).is_file()]
    if not found:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
        raise UserError(f"{folder} holds no weights: it holds {there}; expected one of "
                        f"{', '.join(FILES)}: fetch the model's files, or correct --source")
    path = folder / found[0]
    if not path.name.endswith(".index.json"):
        return _read_file(path)
    return _read_shards(folder, path)


def _read_shards(folder: pathlib.Path, index: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index} cannot be read ({type(error).__name__}: {error}); expected JSON "
                        "with a weight_map: fetch it again") from error
    tensors = {}
    for shard in sorted(set(weight_map.values())):
        if not (folder / shard).is_file():
            names = [name for name, file in weight_map.items() if file == shard]
            raise UserError(f"{folder / shard} is missing, which {index.name} says holds "
                            f"{len(names)} tensors such as {names[0]}; expected all shards: fetch "
                            "it")
        part = _read_file(folder / shard)
        if twice := sorted(tensors.keys() & part.keys()):
            raise UserError(f"{folder / shard} holds {twice[0]} again; expected each tensor in one "
                            "shard: fetch the folder again")
        tensors |= part
    if absent := sorted(weight_map.keys() - tensors.keys()):
        raise UserError(f"{index.name} names {absent[0]} (in {weight_map[absent[0]]}), which the "
                        "shard does not hold; expected what the index says: fetch the shard again")
    return tensors


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
    if path.suffix == ".bin":
        return torch_file.read(path)
    numpy = safetensors_numpy()
    from safetensors import SafetensorError
    try:
        return dict(numpy.load_file(path))
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); expected a whole file: "
                        "fetch it again") from error
