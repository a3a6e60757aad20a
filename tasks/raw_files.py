"""Streaming readers of a user's raw files, with every bad record named by file and line.

JSON lines (optionally gzipped) and Parquet give the same records. A bad record raises UserError, or
is set aside by ``Rejects`` and the rest goes on; what a good record is says ``tasks.raw_records``.
"""

import collections
import gzip
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.errors import UserError
from gsid_jax.progress import Progress

Record = TypeVar("Record")
JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
PARQUET_SUFFIX = ".parquet"
BATCH_ROWS = 4096
SNIPPET = 80  # characters of a bad record shown in an error


class BadRecord(Exception):
    """One record breaks the format.

    ``reason`` is a short fixed name to count by; ``got``, ``expected``, ``fix`` make the message.
    """

    def __init__(self, reason: str, got: str, expected: str, fix: str):
        super().__init__(reason)
        self.reason, self.got, self.expected, self.fix = reason, got, expected, fix

    def message(self) -> str:
        """The sentence shown to the user, without file and line."""
        return f"{self.reason}: got {self.got}, expected {self.expected}. {self.fix}"


class Rejects:
    """Counts bad records and writes them to a JSONL file, or stops at the first.

    Args:
      path: the rejects file, one line per bad record with ``file``, ``line`` (row for Parquet,
        from 1), ``reason``, ``detail`` and ``raw`` (the record as text; bytes that are no UTF-8 as
        ``\\xNN``). None: the first bad record raises UserError.
    """

    def __init__(self, path: pathlib.Path | None = None):
        self.counts: collections.Counter[str] = collections.Counter()
        self._file = None if path is None else open(path, "w", encoding="utf-8")

    def add(self, path: pathlib.Path, number: int, bad: BadRecord, raw: Any) -> None:
        """Sets a record aside. UserError, with file and line, if nothing may be skipped."""
        if self._file is None:
            raise UserError(f"{path}, {unit(path)} {number}: {bad.message()} Or pass --skip_invalid"
                            " to set bad records aside.")
        self.counts[bad.reason] += 1
        if isinstance(raw, bytes):
            text = raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
        else:
            text = raw if isinstance(raw, str) else json.dumps(raw, default=repr)
        line = {"file": path.name, "line": number, "reason": bad.reason, "detail": bad.message(),
                "raw": text}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Closes the rejects file."""
        if self._file is not None:
            self._file.close()

    def summary(self) -> str:
        """For example ``3 bad records set aside: 2 empty text, 1 malformed JSON``."""
        total = sum(self.counts.values())
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.counts.items()))
        what = f"{total:,} bad record{'s' * (total != 1)} set aside"
        return f"{what}: {reasons}" if total else what


def unit(path: pathlib.Path) -> str:
    """What a record of this file is called in messages: ``line``, or ``row`` for Parquet."""
    return "row" if path.name.endswith(PARQUET_SUFFIX) else "line"


def check_path(path: str | os.PathLike, kind: str) -> pathlib.Path:
    """Returns the path of a raw file; UserError if it is missing or of an unknown type."""
    path = pathlib.Path(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise UserError(f"{kind} file {path} {what}; expected a file of type "
                        f"{', '.join((*JSON_SUFFIXES, PARQUET_SUFFIX))}: correct --{kind}")
    if not path.name.endswith((*JSON_SUFFIXES, PARQUET_SUFFIX)):
        raise UserError(f"{kind} file {path} has an unknown type: got suffix {path.suffix!r}, "
                        f"expected one of {', '.join((*JSON_SUFFIXES, PARQUET_SUFFIX))}: convert "
                        "or rename the file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{kind} file {path} cannot be read: got no permission, expected a file "
                        "that you may read: change its permissions")
    return path


def read_records(path: pathlib.Path, kind: str, fields: Sequence[str],
                 parse: Callable[[dict[str, Any]], Record], rejects: Rejects) -> Iterator[Record]:
    """Yields ``parse(record)`` for each good record, in file order.

    Args:
      path: a file checked by ``check_path``.
      kind: what the file holds, for messages: ``items``, ``interactions``, ...
      fields: the columns to read from Parquet; others are ignored in both formats.
      parse: raises BadRecord for a record that breaks the format.
      rejects: receives bad records, and may stop at the first.

    Raises UserError for a file that cannot be read, and for one without a single good record.
    """
    for _, record in numbered_records(path, kind, fields, parse, rejects):
        yield record


def numbered_records(path: pathlib.Path, kind: str, fields: Sequence[str],
                     parse: Callable[[dict[str, Any]], Record], rejects: Rejects,
                     interval: float = 5.0) -> Iterator[tuple[int, Record]]:
    """As ``read_records``, each with its line (row for Parquet) in the file, from 1.

    ``interval`` are the seconds between two progress lines.
    """
    read = _read_parquet if path.name.endswith(PARQUET_SUFFIX) else _read_json_lines
    good, bad_before = 0, sum(rejects.counts.values())
    for number, found, raw in read(path, kind, fields, interval):
        try:
            if isinstance(found, BadRecord):
                raise found
            record = parse(found)
        except BadRecord as bad:
            rejects.add(path, number, bad, raw)
            continue
        good += 1
        yield number, record
    if not good:
        skipped = sum(rejects.counts.values()) - bad_before
        raise UserError(f"{kind} file {path} is empty: got 0 good records and {skipped:,} bad "
                        "ones, expected at least one: check that it is the right file")


def _read_json_lines(path: pathlib.Path, kind: str, fields: Sequence[str], interval: float
                     ) -> Iterator[tuple[int, dict[str, Any] | BadRecord, bytes]]:
    del fields  # a line is parsed whole
    progress = Progress(f"reading {kind} (bytes)", path.stat().st_size, interval=interval)
    with open(path, "rb") as raw_file:
        file = gzip.open(raw_file) if path.name.endswith(".gz") else raw_file
        done = 0
        try:
            for number, line in enumerate(file, start=1):
                if not number % BATCH_ROWS:
                    progress.update(raw_file.tell() - done)
                    done = raw_file.tell()
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # byte order mark of some editors
                if line.strip():
                    yield number, _parse_line(line), line
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{kind} file {path} is not complete gzip data ({error}); expected a "
                            "gzip file as its name says: write or copy it again") from error


def _parse_line(line: bytes) -> dict[str, Any] | BadRecord:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRecord("not UTF-8", f"byte 0x{line[error.start]:02x} at position {error.start}",
                         "UTF-8 text", "Convert the file to UTF-8.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadRecord("malformed JSON", f"{_snippet(text)} ({error})",
                         "one JSON object per line", "Correct the line.")
    if not isinstance(value, dict):
        return BadRecord("malformed JSON", _snippet(text), "a JSON object", "Correct the line.")
    return value


def _snippet(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= SNIPPET else text[:SNIPPET] + "...")


def _read_parquet(path: pathlib.Path, kind: str, fields: Sequence[str], interval: float
                  ) -> Iterator[tuple[int, dict[str, Any] | BadRecord, Any]]:
    try:
        file = pq.ParquetFile(path)
        progress = Progress(f"reading {kind}", file.metadata.num_rows, interval=interval)
        columns = [name for name in fields if name in file.schema_arrow.names]
        number = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            for row in _rows(batch):
                number += 1
                yield number, row, row if isinstance(row, dict) else row.got
            progress.update(len(batch))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{kind} file {path} cannot be read as Parquet ({error}); expected a "
                        "Parquet file as its name says: write or copy it again") from error


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any] | BadRecord]:
    """A batch as dictionaries; row by row only if some text in it is not UTF-8."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        if len(batch) == 1:
            return [BadRecord("not UTF-8", repr(error.object[:SNIPPET]), "UTF-8 text",
                              "Write the column as UTF-8.")]
    return [row for start in range(len(batch)) for row in _rows(batch.slice(start, 1))]
