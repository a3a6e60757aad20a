"""A published data set's files as dictionaries, and what a converter makes of them."""

import csv
import dataclasses
import gzip
import io
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from gsid_jax.errors import UserError

Record = dict[str, object]


@dataclasses.dataclass(frozen=True)
class Converted:
    """Records of docs/data_format.md, and what one may conclude from them."""

    items: Sequence[Record]
    interactions: Sequence[Record]
    about: str  # what stands in for searches, what was left out, what the data cannot show
    q2i_test: Sequence[Record] = ()
    i2i_test: Sequence[Record] = ()
    sequences: Sequence[Record] = ()

    def files(self) -> dict[str, Sequence[Record]]:
        """The records by file name; optional files without records are left out."""
        named = {"items": self.items, "interactions": self.interactions,
                 "q2i_test": self.q2i_test, "i2i_test": self.i2i_test,
                 "sequences": self.sequences}
        return {name: records for name, records in named.items() if records}


def _open(path: pathlib.Path) -> IO[str]:
    if not path.is_file():
        raise UserError(f"no file {path}; expected the published file under that name: check "
                        "--input")
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8", newline="")
    return open(path, encoding="utf-8", newline="")


def read_csv(path: pathlib.Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV file (may be .gz) with a header; UserError if a column is missing."""
    with _open(path) as file:
        reader = csv.DictReader(file)
        _require(path, 1, reader.fieldnames or (), columns)
        yield from reader


def read_jsonl(path: pathlib.Path, fields: Sequence[str]) -> Iterator[dict]:
    """Objects of a JSON lines file (may be .gz); UserError for a broken line or missing field."""
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error}); expected one object a "
                                "line: fetch the file again") from error
            _require(path, number, record, fields)
            yield record


def _require(path: pathlib.Path, line: int, found: Mapping | Sequence[str],
             needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        raise UserError(f"{path}, line {line}: {', '.join(missing)} is missing, got "
                        f"{', '.join(map(str, found))}; expected the published file: check --name "
                        "and --input")


def clean(text: object) -> str:
    """The text on one line, runs of white space made one; '' for None."""
    return " ".join(str(text or "").split())
