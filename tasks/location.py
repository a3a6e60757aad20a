"""Where the data of a run lies, resolved when a dataset is loaded, not when tasks are registered.

SeqIO registers tasks once, at import, before gin files are read and before a pipeline has built
anything. So sources and vocabularies ask ``current()`` at the moment a dataset is loaded.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import gin
from etils import epath

from gsid_jax.errors import UserError

DEPTHS = ("", "*/", "*/*/")  # TFDS puts a dataset under [config/]version/


@dataclasses.dataclass(frozen=True)
class Location:
    """Directories and files of one run; an empty string means 'not given'."""
    data_dir: str = ""  # holds gsid_catalogue/ and the Parquet tables beside it
    vocabulary: str = ""  # a SentencePiece .model file
    extra_ids: int = 16  # ids added behind the model's own: span masks and task tokens
    step_dir: str = ""  # assignment directory of the step before; empty at step 1
    cached_tokens: bool = False  # gsid_query_item reads what tools.cache_tasks wrote


@gin.configurable
def data_location(data_dir: str = "", vocabulary: str = "", extra_ids: int = 16,
                  step_dir: str = "", cached_tokens: bool = False) -> Location:
    """Returns the location bound in gin: ``tasks.location.data_location.data_dir = '...'``."""
    return Location(str(data_dir), str(vocabulary), extra_ids, str(step_dir),
                    cached_tokens)


_set: dict[str, Any] = {}


def current() -> Location:
    """The location in force: gin's bindings, then what ``set_location`` and ``use`` changed."""
    return dataclasses.replace(data_location(), **_set)


def set_location(**changes: Any) -> None:
    """Overrides fields of ``Location`` for this process, over gin, until ``reset``."""
    _set.update(_checked(changes))


def reset() -> None:
    """Forgets what ``set_location`` changed: gin's bindings hold again."""
    _set.clear()


@contextlib.contextmanager
def use(**changes: Any) -> Iterator[None]:
    """Overrides fields of ``Location`` while the block runs."""
    saved = dict(_set)
    set_location(**changes)
    try:
        yield
    finally:
        _set.clear()
        _set.update(saved)


def _checked(changes: dict[str, Any]) -> dict[str, Any]:
    known = [field.name for field in dataclasses.fields(Location)]
    for name in changes:
        if name not in known:
            raise UserError(f"unknown location field '{name}'; expected one of {', '.join(known)}")
    return {name: value if name in ("extra_ids", "cached_tokens") else str(value)
            for name, value in changes.items()}


def required(field: str, what: str) -> str:
    """Returns a field of the current location, or raises UserError naming the binding to set."""
    value = getattr(current(), field)
    if not value:
        raise UserError(f"no {what} given: tasks.location.data_location.{field} is not set; set it "
                        f"with --gin.tasks.location.data_location.{field}=\"'PATH'\" or in the gin "
                        "file")
    return value


def dataset_dir(dataset: str) -> epath.Path:
    """Returns the directory of a TFDS dataset: 'train', 'pool', 'q2i', 'i2i' or 'step'.

    'step' is the dataset that the assignment after the step before wrote, or 'train' while
    ``step_dir`` is empty; 'tokens' the same with its texts tokenised. Of several versions the
    highest is taken. Raises UserError if there is none.
    """
    if dataset == "tokens":
        field = "step_dir" if current().step_dir else "data_dir"
        root = epath.Path(required(field, "directory")) / "gsid_tokens"
        fix = "write it with tools.cache_tasks, or leave cached_tokens out"
    elif dataset == "step" and current().step_dir:
        field, root = "step_dir", epath.Path(current().step_dir) / "gsid_step"
        fix = "run the assignment of the step before"
    else:
        config = "train" if dataset == "step" else dataset
        field, root = "data_dir", _data_dir() / "gsid_catalogue" / config
        fix = "build it with tools/build_dataset"
    infos = [path for depth in DEPTHS for path in root.glob(f"{depth}dataset_info.json")]
    if not infos:
        raise UserError(f"no '{dataset}' dataset: {root} holds no dataset_info.json; {fix}, or "
                        f"correct tasks.location.data_location.{field} = '"
                        f"{getattr(current(), field)}'")
    return max((path.parent for path in infos), key=lambda path: _version(path.name))


def table(name: str) -> epath.Path:
    """Returns the path of a Parquet table beside the datasets; UserError if it is missing."""
    path = _data_dir() / name
    if not path.exists():
        raise UserError(f"table {path} is missing; build it with tools/build_dataset, or correct "
                        f"tasks.location.data_location.data_dir = '{current().data_dir}'")
    return path


def _data_dir() -> epath.Path:
    return epath.Path(required("data_dir", "data directory"))


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))
