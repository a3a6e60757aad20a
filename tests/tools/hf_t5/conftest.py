"""The tiny run of the library's tests, for exports of a trained step."""

from tests.gsid_jax.conftest import tiny_run_dir  # noqa: F401
