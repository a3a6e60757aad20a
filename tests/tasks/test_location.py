"""Late resolution of places, and what is said when one is missing."""

import gin
import pytest

from gsid_jax.errors import UserError
from tasks import location


@pytest.fixture(autouse=True)
def clean():
    yield
    location.reset()
    gin.clear_config()


def test_gin_binds_and_setters_override(tmp_path):
    gin.bind_parameter("tasks.location.data_location.data_dir", "from_gin")
    assert location.current().data_dir == "from_gin"
    with location.use(data_dir=tmp_path, step_dir="step"):
        assert location.current().data_dir == str(tmp_path)
        assert location.current().step_dir == "step"
    assert location.current() == location.Location(data_dir="from_gin")
    location.set_location(data_dir="set")
    assert location.current().data_dir == "set"
    location.reset()
    assert location.current().data_dir == "from_gin"


def test_use_restores_after_an_error():
    with pytest.raises(RuntimeError), location.use(data_dir="inside"):
        raise RuntimeError
    assert location.current().data_dir == ""


def test_unknown_field():
    with pytest.raises(UserError, match="unknown location field 'datadir'; expected one of data_d"):
        location.set_location(datadir="x")


def test_missing_data_dir_names_the_binding():
    with pytest.raises(UserError, match="no data directory given: tasks.location.data_location."
                                        "data_dir is not set"):
        location.dataset_dir("train")


def test_missing_dataset_names_directory_and_tool(tmp_path):
    location.set_location(data_dir=tmp_path)
    with pytest.raises(UserError, match="no 'train' dataset: .*gsid_catalogue/train holds no "
                                        "dataset_info.json; build it with tools/build_dataset"):
        location.dataset_dir("train")
    location.set_location(step_dir=tmp_path)
    with pytest.raises(UserError, match="no 'step' dataset: .*gsid_step holds no .*run the "
                                        "assignment of the step before"):
        location.dataset_dir("step")


def test_missing_table(tmp_path):
    location.set_location(data_dir=tmp_path)
    with pytest.raises(UserError, match="table .*items.parquet is missing"):
        location.table("items.parquet")


def test_highest_version_wins(tmp_path):
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        directory = tmp_path / "gsid_catalogue" / "train" / version
        directory.mkdir(parents=True)
        (directory / "dataset_info.json").touch()
    location.set_location(data_dir=tmp_path)
    assert location.dataset_dir("train").name == "1.10.0"


def test_step_reads_the_catalogue_while_there_is_no_step_before(tmp_path):
    for name in ("data/gsid_catalogue/train/1.0.0", "assignment/gsid_step/1.0.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").touch()
    location.set_location(data_dir=tmp_path / "data")
    assert location.dataset_dir("step") == location.dataset_dir("train")
    location.set_location(step_dir=tmp_path / "assignment")
    assert location.dataset_dir("step").parent.name == "gsid_step"
