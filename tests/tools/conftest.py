"""A tiny run with published IDs."""

import pytest

from tests.tools import published_run


@pytest.fixture(scope="session")
def published_run_dir(tiny_run_dir, tmp_path_factory):
    """A run of two untrained steps with IDs and sequences; treat it as read-only."""
    return published_run.write(tiny_run_dir, tmp_path_factory.mktemp("published") / "run")
