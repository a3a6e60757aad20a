"""Tests run on 8 virtual CPU devices, with strict dtype promotion and without rank promotion.

Environment variables rather than jax.config, so that programs started by tests have them too.
"""

import os
import tempfile

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
# Tests compile much and compute little: without LLVM's optimisations they take three fifths of the
# processor time.
for _flag in ("--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=0"):
    if _flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}".strip()
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Tests build the same small models again and again: compile each program once a session. The
# workers of pytest-xdist inherit the cache of the process that starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="gsid_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.fixture(scope="session")
def tiny_run_dir(tmp_path_factory):
    """A run of two untrained steps; treat it as read-only."""
    from tests.gsid_jax import tiny_run  # JAX must not load before the variables above are set
    run_dir = tmp_path_factory.mktemp("tiny_run")
    tiny_run.write(run_dir)
    return run_dir


def pytest_configure(config):
    config.addinivalue_line("markers", "t5x: launches T5X; skipped where it is not installed")
