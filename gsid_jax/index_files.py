"""The files of a code index: arrays under one JSON file that names, sizes and checks them.

    index/index.json             what the index is, and size and SHA-256 of every file
    index/data-000001/*.npy      the arrays, one a file

A new state of the index is a new data directory; the index changes in the instant in which
index.json is replaced. A reader that has the old arrays mapped keeps them.
"""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.manifest import file_hash, write_json

FORMAT, VERSION = "gsid code index", 1
INFO_FILE = "index.json"
REBUILD = "build the index again (python -m gsid_jax.code_index build)"


class ArrayFiles:
    """A data directory in the making; ``publish`` puts it in force.

    Used as a context manager: what was not published is removed at the end.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = pathlib.Path(directory)
        self._partial = self.directory / f"partial-{os.getpid()}"

    def __enter__(self) -> "ArrayFiles":
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        return self

    def __exit__(self, *exception: Any) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def write(self, name: str, array: np.ndarray) -> None:
        """Writes one array."""
        np.save(self._partial / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)

    def create(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.memmap:
        """An array on disk to be filled; flush it before ``publish``."""
        return np.lib.format.open_memmap(self._partial / f"{name}.npy", mode="w+", dtype=dtype,
                                         shape=shape)

    def publish(self, info: Mapping[str, Any]) -> None:
        """Checksums the arrays, writes index.json and removes the arrays of older states."""
        files = {path.stem: {"bytes": path.stat().st_size, "sha256": file_hash(path)}
                 for path in sorted(self._partial.iterdir())}
        states = [int(path.name[5:]) for path in self.directory.glob("data-*")]
        data = self.directory / f"data-{1 + max(states, default=0):06d}"
        os.rename(self._partial, data)
        content = {"format": FORMAT, "version": VERSION, **info, "data": data.name, "files": files}
        write_json(self.directory / INFO_FILE, content | {"checksum": _checksum(content)})
        for other in self.directory.glob("data-*"):
            if other != data:
                shutil.rmtree(other, ignore_errors=True)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def exists(directory: str | os.PathLike) -> bool:
    """Whether an index lies there, readable or not."""
    return (pathlib.Path(directory) / INFO_FILE).exists()


def read_info(directory: str | os.PathLike) -> dict[str, Any]:
    """What index.json says. UserError if it is missing, damaged or of another version."""
    path = pathlib.Path(directory) / INFO_FILE
    if not path.exists():
        raise UserError(f"there is no code index in {directory} (no {INFO_FILE}); expected what "
                        f"code_index writes: {REBUILD}, or correct the path")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
        intact = checksum == _checksum(content) and content["format"] == FORMAT
    except (ValueError, KeyError, AttributeError, TypeError):
        intact = False
    if not intact:
        raise UserError(f"{path} is damaged: it does not match its own checksum; expected the file "
                        f"as it was written: restore it, or {REBUILD}")
    if content["version"] != VERSION:
        raise UserError(f"{path} is of version {content['version']}; expected {VERSION}: {REBUILD}")
    return content


def load_arrays(directory: str | os.PathLike, info: Mapping[str, Any], verify: bool
                ) -> dict[str, np.ndarray]:
    """Memory-maps every array of the state that ``info`` describes.

    Sizes are always checked; ``verify`` reads all bytes and compares their SHA-256. UserError, with
    the file's name, for one that is missing, cut short or changed.
    """
    data = pathlib.Path(directory) / info["data"]
    arrays = {}
    for name, wanted in info["files"].items():
        path = data / f"{name}.npy"
        if not path.exists():
            raise UserError(f"{path} is missing; expected the file that {INFO_FILE} names: restore "
                            f"it, or {REBUILD}")
        size = path.stat().st_size
        if size != wanted["bytes"]:
            raise UserError(f"{path} has {size:,} bytes; expected {wanted['bytes']:,}: the file was "
                            f"cut short or replaced: restore it, or {REBUILD}")
        if verify and (found := file_hash(path)) != wanted["sha256"]:
            raise UserError(f"{path} is damaged: its SHA-256 is {found[:12]}..., expected "
                            f"{wanted['sha256'][:12]}...: restore it, or {REBUILD}")
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}); expected an array as it was written: "
                            f"restore it, or {REBUILD}") from error
    return arrays
