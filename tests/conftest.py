"""Tests run on 8 virtual CPU devices, with strict dtype promotion and without rank promotion.

Environment variables rather than jax.config, so that programs started by tests have them too.
"""

import os
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "")
                           + " --xla_force_host_platform_device_count=8").strip()
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Tests build the same small models again and again: compile each program once a session.
_cache = tempfile.TemporaryDirectory(prefix="gsid_jax_tests_")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_configure(config):
    config.addinivalue_line("markers", "t5x: launches T5X; skipped where it is not installed")
