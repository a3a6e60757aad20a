"""Writes the files of a simulated marketplace under a temporary name, then renames."""

import contextlib
import json
import os
import shutil

from gsid_jax.errors import UserError

_encode = json.JSONEncoder(ensure_ascii=False).encode


class JsonLines:
    """An open JSONL file that counts its lines; a context manager that closes it."""

    def __init__(self, path: str):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._file = open(path, "w", encoding="utf-8", newline="\n", buffering=1 << 20)
        self.count = 0

    def write(self, record: dict) -> None:
        """Appends one record."""
        self._file.write(_encode(record) + "\n")
        self.count += 1

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *error) -> None:
        self._file.close()


def check_output_dir(path: str) -> None:
    """Refuses a directory that already holds something."""
    if os.path.exists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise UserError(
            f"output_dir is in use: {path!r} exists and is not empty; expected a new or empty "
            f"directory. Choose another --output_dir or delete this one first.")


@contextlib.contextmanager
def staged_directory(path: str):
    """Yields a temporary directory beside `path`, which takes its place if all goes well."""
    path = os.path.abspath(path)
    check_output_dir(path)
    staging = f"{path}.incomplete"
    shutil.rmtree(staging, ignore_errors=True)
    os.makedirs(staging)
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    if os.path.isdir(path):
        os.rmdir(path)
    os.replace(staging, path)
