"""Tensors of a PyTorch .bin file as numpy arrays, without torch and without running its pickle.

Both layouts of torch.save are read: the zip archive (torch 1.6 and later) and the single stream
before it. The unpickler knows dictionaries, storages and the two functions that rebuild tensors;
whatever else a file asks for is refused, so that a downloaded file cannot run code.
"""

import collections
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from gsid_jax.errors import UserError

STORAGES = {
    "DoubleStorage": np.dtype("<f8"), "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"), "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"), "BoolStorage": np.dtype("?"),
}
_LEGACY_MAGIC = 0x1950a86a20f9469cfc6c


class _Tensor:
    """A tensor whose storage may not have been read yet."""

    def __init__(self, storage, offset, size, stride, *_):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self, data: np.ndarray) -> np.ndarray:
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride))
        if min([self.offset, *self.size, *self.stride], default=0) < 0 or (
                np.prod(self.size, dtype=np.int64) and last >= data.size):
            raise ValueError(f"a tensor of shape {tuple(self.size)} reaches element {last} of a "
                             f"storage of {data.size}")
        strides = [step * data.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(data[self.offset:], self.size, strides,
                                               writeable=False)
        return np.ascontiguousarray(view)


class _Storage:
    """Stands for a storage class, and for one storage of a file."""

    def __init__(self, dtype: np.dtype, key: str = ""):
        self.dtype, self.key = dtype, key


class _Unpickler(pickle.Unpickler):
    """Builds nothing but dictionaries of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in STORAGES:
            return _Storage(STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of weights needs")

    def persistent_load(self, pid: tuple) -> _Storage:
        kind, storage, key = pid[:3]
        if kind != "storage" or not isinstance(storage, _Storage):
            raise pickle.UnpicklingError(f"it names an object {kind!r} outside the file")
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("it holds views of storages, which torch no longer writes")
        return _Storage(storage.dtype, str(key))


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """{name: array} of a file that torch.save wrote of a state dict; bfloat16 stays bfloat16.

    Raises UserError if the file is not one, is cut short, or holds more than tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_zip(archive)
        with open(path, "rb") as file:
            return _read_stream(file)
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, ValueError, TypeError,
            AttributeError, IndexError, struct.error) as error:
        raise UserError(f"{os.fspath(path)} cannot be read as PyTorch weights ({error}); expected "
                        "a state dict written by torch.save, of tensors only: fetch the file "
                        "again, or save it as safetensors") from error


def _read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"the archive holds {len(pickles)} data.pkl, expected one")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist():
        order = archive.read(f"{root}byteorder").decode()
        if order != "little":
            raise ValueError(f"its bytes are in {order!r} order")
    tree = _Unpickler(io.BytesIO(archive.read(pickles[0]))).load()
    loaded: dict[str, np.ndarray] = {}

    def storage(wanted: _Storage) -> np.ndarray:
        if wanted.key not in loaded:
            raw = archive.read(f"{root}data/{wanted.key}")
            loaded[wanted.key] = np.frombuffer(raw, wanted.dtype)
        return loaded[wanted.key]

    return _arrays(tree, storage)


def _read_stream(file: io.BufferedReader) -> dict[str, np.ndarray]:
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("it does not begin as torch.save's files do")
    _Unpickler(file).load()  # protocol version
    if not _Unpickler(file).load().get("little_endian", True):
        raise ValueError("its bytes are in big-endian order")
    unpickler = _Unpickler(file)
    tree = unpickler.load()
    keys = _Unpickler(file).load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in _tensors(tree).values()}
    loaded = {}
    for key in map(str, keys):
        count, = struct.unpack("<q", file.read(8))
        dtype = dtypes[key]
        raw = file.read(count * dtype.itemsize)
        if len(raw) != count * dtype.itemsize:
            raise EOFError(f"storage {key} ends after {len(raw)} bytes")
        loaded[key] = np.frombuffer(raw, dtype)
    return _arrays(tree, lambda wanted: loaded[wanted.key])


def _tensors(tree: Any) -> dict[str, _Tensor]:
    if not isinstance(tree, dict):
        raise ValueError(f"it holds a {type(tree).__name__}, expected a dictionary of tensors")
    for name, value in tree.items():
        if not isinstance(value, _Tensor):
            raise ValueError(f"{name!r} is a {type(value).__name__}, expected a tensor")
    return tree


def _arrays(tree: Any, storage: Callable[[_Storage], np.ndarray]) -> dict[str, np.ndarray]:
    return {name: tensor.array(storage(tensor.storage))
            for name, tensor in _tensors(tree).items()}
