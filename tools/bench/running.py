"""Runs measurements in processes of their own and lays them side by side."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from gsid_jax.errors import UserError


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """`worker.measure(job)` in a fresh process; UserError with its last words if it fails."""
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    if job.get("virtual_devices"):
        environment["XLA_FLAGS"] = (
            f"--xla_force_host_platform_device_count={job['virtual_devices']}")
    done = subprocess.run([sys.executable, "-m", "tools.bench.worker", json.dumps(job)],
                          env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"the measurement {dict(job)} failed: {words}; expected JAX, and PyTorch "
                        "with transformers for the comparison: pip install torch transformers")
    return json.loads(done.stdout.strip().splitlines()[-1])


def side_by_side(case: Mapping[str, Any], what: str, calls: int, device: str = "cpu",
                 compiled: bool = False, rounds: int = 2) -> dict[str, dict[str, Any]]:
    """The same case in JAX and PyTorch, alternating `rounds` times; the faster round counts."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for framework in ("jax", "torch"):
            result = run({"framework": framework, "what": what, "case": dict(case),
                          "calls": calls, "device": device,
                          "compiled": compiled and framework == "torch"})
            if framework not in found or result["seconds"] < found[framework]["seconds"]:
                found[framework] = result
    return found


def peak(device: str = "cpu", dtype: str = "float32", size: int = 2048) -> float:
    """The machine's best matrix product, FLOP/s, of both frameworks."""
    rates = []
    for framework in ("jax", "torch"):
        result = run({"framework": framework, "what": "matmul", "case": {"dtype": dtype},
                      "calls": 8, "device": device, "matmul_size": size})
        rates.append(result["flops"] / result["best"])
    return max(rates)


def milliseconds(result: Mapping[str, Any]) -> str:
    return f"{result['seconds'] * 1e3:,.0f}"


def load() -> str:
    """A sentence on how busy the machine was; timings of a busy machine are provisional."""
    one = os.getloadavg()[0]
    busy = one > (os.cpu_count() or 1) + 1
    return (f"Load average at the end {one:.1f}" + (
        " on a machine that did other work too: these timings are **provisional**; CPU seconds "
        "are the fairer column." if busy else "."))
