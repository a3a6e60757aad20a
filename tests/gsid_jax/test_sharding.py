"""One GSID step gives the same on every mesh, and on two processes, as on one device.

Tolerance: gradients and codebooks are sums over the batch in float32, which devices add up in
another order (test_gsid_model has the mesh 8x1). Rounding of such a sum grows with its terms, not with its result, so beside a
relative 1e-4 an absolute 1e-5 of the largest entry of the array is allowed. IDs are equal.
"""

import functools
import os
import pathlib
import pickle
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from gsid_jax import partitioning
from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner
from tests.gsid_jax import sharded_step

ROOT = pathlib.Path(__file__).parents[2]


@functools.cache
def one_device():
    return sharded_step.step(Partitioner(devices=jax.devices()[:1]))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["ids"], expected["ids"])
    for name, value in expected.items():
        scale = np.max(np.abs(value)) if value.size else 0
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * scale + 1e-8,
                                   err_msg=name)


@pytest.mark.parametrize("model_axis,fsdp", [(4, False), (2, True)])
def test_meshes_give_what_one_device_gives(model_axis, fsdp):
    expected = one_device()
    assert any(np.any(v != 0) for k, v in expected.items() if k.startswith("gradient"))
    assert_same(sharded_step.step(Partitioner(model_axis, fsdp)), expected)


def test_two_processes_give_what_one_device_gives(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    (tmp_path / "state.pickle").write_bytes(pickle.dumps(sharded_step.fresh_state()))
    environment = os.environ | {"XLA_FLAGS": ""}  # one device each
    processes = [subprocess.Popen(
        [sys.executable, "-m", "tests.gsid_jax.sharded_step", address, str(n),
         str(tmp_path / "state.pickle"), str(tmp_path / "found.npz")], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for n in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    with np.load(tmp_path / "found.npz") as found:
        assert_same(dict(found), one_device())


@pytest.mark.parametrize("arguments,environment,message", [
    ((None, 2, None), {}, "half configured: --coordinator_address, --process_id are missing beside "
                          "--num_processes=2; expected all three, or none"),
    (("localhost:1", 2, 2), {}, r"--process_id=2 of --num_processes=2; expected 0..1"),
    ((None, None, None), {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"},
     "under Slurm: SLURM_JOB_ID is set but SLURM_STEP_NODELIST, SLURM_PROCID, SLURM_LOCALID are "
     "not; expected all of .*: start the program with srun"),
    ((None, None, None), {"TPU_WORKER_ID": "0"},
     "under Cloud TPU: TPU_WORKER_ID is set but TPU_WORKER_HOSTNAMES is not"),
])
def test_half_set_start_up_is_named(arguments, environment, message, monkeypatch):
    for names in partitioning.SCHEDULERS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        partitioning.start_distributed(*arguments)


def test_whole_scheduler_environments_pass():
    slurm = dict.fromkeys(partitioning.SCHEDULERS["Slurm"], "1")
    assert partitioning.half_configured(slurm) is None
    assert partitioning.half_configured({}) is None
    assert partitioning.half_configured({"TPU_WORKER_ID": "0",
                                         "TPU_PROCESS_ADDRESSES": "a:1"}) is None
