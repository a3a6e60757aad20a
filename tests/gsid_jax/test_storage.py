"""Full and read-only disks are told from other failures."""

import errno

import pytest

from gsid_jax import launch, storage


def wrapped(inner):
    try:
        try:
            raise inner
        except Exception as error:
            raise RuntimeError("orbax") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("error,expected", [
    (OSError(errno.ENOSPC, "x"), "No space left on device"),
    (wrapped(OSError(errno.EROFS, "x")), "Read-only file system"),
    (ValueError("RESOURCE: write failed: No space left on device [errno 28]"),
     "No space left on device"),
    (OSError(errno.ENOENT, "No such file"), None), (ValueError("shape"), None)])
def test_problem(error, expected):
    assert storage.problem(error) == expected


def test_entry_points_say_it_in_one_line(capsys):
    def full(argv):
        raise OSError(errno.ENOSPC, "No space left on device", "ids.parquet")

    assert launch.call(full, ["x"]) == 1
    assert capsys.readouterr().err == (
        "error: the disk refuses a file at ids.parquet: No space left on device; expected a place "
        "with room that may be read and written. What was finished is kept: free space or correct "
        "the path, the same command goes on\n")
