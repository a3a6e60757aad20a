"""Fixtures: the small catalogue, and a location that points to it."""

import pathlib

import gin
import pytest

from tasks import location
from tests.tasks import small_catalogue


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory) -> pathlib.Path:
    """Directory of the small catalogue."""
    root = tmp_path_factory.mktemp("catalogue")
    small_catalogue.write(root)
    return root


@pytest.fixture
def placed(catalogue) -> pathlib.Path:
    """Step 1 on the small catalogue; gin and location are clean afterwards."""
    location.set_location(data_dir=catalogue / "data", vocabulary=catalogue / "spm.model")
    gin.bind_parameter("tasks.grouping.prefix_groups.group_size", small_catalogue.GROUP)
    yield catalogue
    location.reset()
    gin.clear_config()


@pytest.fixture
def step_two(placed) -> pathlib.Path:
    """Step 3 on the small catalogue: records carry two levels of codes."""
    location.set_location(step_dir=placed / "step")
    return placed
