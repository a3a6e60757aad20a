"""PyTorch files without torch: both layouts, and nothing but tensors."""

import collections
import importlib.util
import io
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from gsid_jax.errors import UserError
from tools.hf_t5 import torch_file

HAS_TORCH = importlib.util.find_spec("torch")


class Storage:
    """Pickles as a storage of a torch file."""

    def __init__(self, kind, key, count):
        self.pid = ("storage", kind, key, "cpu", count)


class FakeTorch:
    """What torch.save writes, by name: classes that pickle as torch's globals."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Pickler(pickle._Pickler):
    """Writes FakeTorch as a global and Storage as a persistent id, as torch does."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, FakeTorch):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Tensor):
            self.save(FakeTorch("torch._utils", "_rebuild_tensor_v2"))
            self.save((obj.storage, obj.offset, obj.size, obj.stride, False,
                       collections.OrderedDict()))
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


class Tensor:
    def __init__(self, storage, offset, size, stride):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride


def zip_file(path, tree, storages, byteorder="little"):
    data = io.BytesIO()
    Pickler(data, protocol=2).dump(tree)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", data.getvalue())
        archive.writestr("model/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"model/data/{key}", array.tobytes())
    return path


def test_a_zip_archive(tmp_path):
    values = np.arange(12, dtype=np.float32)
    half = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    store = Storage(FakeTorch("torch", "FloatStorage"), "0", 12)
    tree = {"plain": Tensor(store, 0, (3, 4), (4, 1)), "turned": Tensor(store, 0, (4, 3), (1, 4)),
            "part": Tensor(store, 4, (4,), (1,)),
            "half": Tensor(Storage(FakeTorch("torch", "BFloat16Storage"), "1", 2), 0, (2,), (1,))}
    found = torch_file.read(zip_file(tmp_path / "m.bin", tree, {"0": values, "1": half}))
    np.testing.assert_array_equal(found["plain"], values.reshape(3, 4))
    np.testing.assert_array_equal(found["turned"], values.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], values[4:8])
    assert found["half"].dtype == ml_dtypes.bfloat16 and found["half"][1] == -2


@pytest.mark.parametrize("tree, text", [
    ({"x": FakeTorch("os", "system")}, "it asks for os.system, which no file of weights needs"),
    ({"x": 3}, "'x' is a int, expected a tensor"),
    ([1], "it holds a list, expected a dictionary of tensors"),
    ({"x": Tensor(Storage(FakeTorch("torch", "FloatStorage"), "0", 4), 2, (4,), (1,))},
     "reaches element 5 of a storage of 4"),
    ({"x": Tensor(Storage(FakeTorch("torch", "FloatStorage"), "9", 4), 0, (4,), (1,))},
     "no item named 'model/data/9'"),
])
def test_what_is_no_state_dict_is_refused(tmp_path, tree, text):
    path = zip_file(tmp_path / "m.bin", tree, {"0": np.zeros(4, np.float32)})
    with pytest.raises(UserError, match="m.bin cannot be read as PyTorch weights") as error:
        torch_file.read(path)
    assert text in str(error.value) and "save it as safetensors" in str(error.value)


def test_a_cut_file_is_refused(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match="cannot be read as PyTorch weights"):
        torch_file.read(path)


@pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves(tmp_path, zipped):
    import torch
    weight = torch.arange(6.0).reshape(2, 3)
    tree = collections.OrderedDict(a=weight, b=weight.T, c=weight.to(torch.bfloat16),
                                   d=torch.nn.Parameter(weight.half()))
    torch.save(tree, tmp_path / "m.bin", _use_new_zipfile_serialization=zipped)
    found = torch_file.read(tmp_path / "m.bin")
    for name, tensor in tree.items():
        np.testing.assert_array_equal(found[name].astype(np.float32),
                                      tensor.detach().float().numpy())
