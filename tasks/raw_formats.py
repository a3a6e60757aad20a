"""Readers of JSON lines, CSV and Parquet: each record as a dictionary, with its place in the file.

A reader yields (line or row from 1, dictionary or BadRecord, the raw record). It stops at nothing
but a file that cannot be read at all; what a good record is says ``tasks.raw_records``.
"""

import csv
import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.errors import UserError
from gsid_jax.progress import Progress
from tasks import raw_paths
from tasks.raw_paths import RawFile

BATCH_ROWS = 4096
SNIPPET = 80  # characters of a bad record shown in an error
TEXT_IDS = ("item_id", "user_id", "items", "item_ids", "similar", "spu")
WHOLE_NUMBERS = ("click", "contact", "purchase", "count", "conversions")
LISTS = {"category": ">", "items": "|", "item_ids": "|", "similar": "|", "timestamps": "|",
         "scores": "|"}
MAX_FIELD = 1 << 28  # characters of a CSV field
MAX_RECORD_LINES = 1000  # of a CSV record whose quote is never closed
BOM = b"\xef\xbb\xbf"  # byte order mark of some editors


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


Found = tuple[int, dict[str, Any] | BadRecord, Any]


def unit(path: pathlib.Path | RawFile) -> str:
    """What a record of this file is called in messages: ``line``, or ``row`` for Parquet."""
    return "row" if path.name.endswith(raw_paths.PARQUET_SUFFIX) else "line"


def read_file(path: pathlib.Path | RawFile, kind: str, fields: Sequence[str],
              columns: Mapping[str, str], interval: float = 5.0) -> Iterator[Found]:
    """Yields the records of one file. UserError for a file that cannot be read.

    Args:
      path: the file; its type is told by its name.
      kind: for messages and progress.
      fields: names a record may have; Parquet reads only these.
      columns: what the file calls them, where it differs.
      interval: seconds between two progress lines.
    """
    if path.name.endswith(raw_paths.PARQUET_SUFFIX):
        yield from _parquet(path, kind, fields, columns, interval)
        return
    lines = numbered_lines(path, kind, interval)
    if path.name.endswith(raw_paths.CSV_SUFFIXES):
        records = _csv(lines, path, {theirs: ours for ours, theirs in columns.items()})
    else:
        records = _json(lines)
    for number, found, raw in records:
        yield number, renamed(found, columns) if columns else found, raw


def renamed(found: dict[str, Any] | BadRecord, columns: Mapping[str, str]
            ) -> dict[str, Any] | BadRecord:
    """A record under our names: a column of the map is read from there and nowhere else."""
    if isinstance(found, BadRecord):
        return found
    return {**found, **{ours: found.get(theirs) for ours, theirs in columns.items()}}


def numbered_lines(path: pathlib.Path | RawFile, kind: str, interval: float
                   ) -> Iterator[tuple[int, bytes]]:
    """Yields (number from 1, line with its end), decompressed, with progress."""
    progress = Progress(f"reading {kind} (bytes)", raw_paths.size(path), interval=interval)
    with raw_paths.open_raw(path) as raw:
        done = 0
        try:
            for number, line in enumerate(raw_paths.unpacked(raw, path.name), start=1):
                if not number % BATCH_ROWS:
                    progress.update(raw.tell() - done)
                    done = raw.tell()
                yield number, line.removeprefix(BOM) if number == 1 else line
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            packed = "gzip" if path.name.endswith(".gz") else "zstd" if (
                path.name.endswith(".zst")) else "file"
            raise UserError(f"{kind} file {path} is not complete {packed} data ({error}); expected "
                            f"a {packed} file as its name says: write or copy it again") from error


def _json(lines: Iterator[tuple[int, bytes]]) -> Iterator[Found]:
    for number, line in lines:
        if line.strip():
            yield number, parse_json(line), line


def parse_json(line: bytes) -> dict[str, Any] | BadRecord:
    """One line of JSON as a dictionary, or what is wrong with it."""
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


def _csv(lines: Iterator[tuple[int, bytes]], path: Any, ours: Mapping[str, str]
         ) -> Iterator[Found]:
    """CSV with a header line; TSV if the name says so. Bytes that are no UTF-8 reach the parser as
    lone surrogates, which it refuses. A quote that is never closed costs its own line only."""
    csv.field_size_limit(MAX_FIELD)
    separator = "\t" if ".tsv" in path.name else ","
    header = None
    waiting: list[tuple[int, str]] = []
    while True:
        if not waiting:
            line = next(lines, None)
            if line is None:
                return
            waiting.append((line[0], line[1].decode("utf-8", "surrogateescape")))
        used = 1
        row = _fields(waiting[0][1], separator)
        while row is None and used < MAX_RECORD_LINES:  # a quoted line break
            if used == len(waiting):
                line = next(lines, None)
                if line is None:
                    break
                waiting.append((line[0], line[1].decode("utf-8", "surrogateescape")))
            used += 1
            row = _fields("".join(text for _, text in waiting[:used]), separator)
        if row is None or (header and used > 1 and len(row) != len(header)):
            used, row = 1, None
        number = waiting[0][0]
        raw = "".join(text for _, text in waiting[:used])
        del waiting[:used]
        if not raw.strip():
            continue
        if header is None:
            if row is None:
                raise UserError(f"{path}, line {number}: malformed CSV header {_snippet(raw)}; "
                                "expected the names of the columns: correct the line")
            header = [name.strip() for name in row]
        elif row is None or len(row) != len(header):
            got = "a quote that is not closed" if row is None else f"{len(row)} fields"
            yield number, BadRecord("malformed CSV", f"{got} in {_snippet(raw)}",
                                    f"{len(header)} fields, as the header has",
                                    "Correct the line."), raw.encode("utf-8", "surrogateescape")
        else:
            yield number, {name: _csv_value(ours.get(name, name), value)
                           for name, value in zip(header, row) if value != ""}, raw.encode("utf-8", "surrogateescape")


def _fields(text: str, separator: str) -> list[str] | None:
    """The fields of one CSV record; None if it is not complete."""
    try:
        return next(csv.reader([text], delimiter=separator, strict=True), [])
    except csv.Error:
        return None


def _csv_value(name: str, text: str) -> Any:
    """What a CSV field means; a text that means nothing else stays, for the parser to refuse."""
    try:
        if name in LISTS:
            if text.lstrip().startswith("["):
                return json.loads(text)
            return [part.strip() for part in text.split(LISTS[name])]
        if name == "attributes":
            return json.loads(text)
        if name in WHOLE_NUMBERS:
            return float(text) if not text.lstrip("-").isdigit() else int(text)
        if name == "timestamp" and text.lstrip("-").isdigit():
            return int(text)
    except ValueError:
        pass
    return text


def _parquet(path: pathlib.Path | RawFile, kind: str, fields: Sequence[str],
             columns: Mapping[str, str], interval: float) -> Iterator[Found]:
    number = 0
    for batch in parquet_batches(path, kind, fields, columns, interval):
        for row in rows_of(batch):
            number += 1
            yield number, row, row if isinstance(row, dict) else row.got


def parquet_batches(path: pathlib.Path | RawFile, kind: str, fields: Sequence[str],
                    columns: Mapping[str, str], interval: float) -> Iterator[pa.RecordBatch]:
    """Yields batches of a Parquet file under our names; whole-number ids become text."""
    try:
        with raw_paths.open_raw(path) as stream:
            file = pq.ParquetFile(stream)
            progress = Progress(f"reading {kind}", file.metadata.num_rows, interval=interval)
            theirs = {name: columns.get(name, name) for name in fields}
            found = [name for name in fields if theirs[name] in file.schema_arrow.names]
            for batch in file.iter_batches(BATCH_ROWS, columns=[theirs[name] for name in found]):
                arrays = [_as_ids(batch.column(theirs[name])) if name in TEXT_IDS
                          else batch.column(theirs[name]) for name in found]
                yield pa.RecordBatch.from_arrays(arrays, found) if found else batch
                progress.update(len(batch))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{kind} file {path} cannot be read as Parquet ({error}); expected a "
                        "Parquet file as its name says: write or copy it again") from error


def _as_ids(array: pa.Array) -> pa.Array:
    if pa.types.is_integer(array.type):
        return array.cast(pa.string())
    if pa.types.is_list(array.type) and pa.types.is_integer(array.type.value_type):
        return array.cast(pa.list_(pa.string()))
    return array


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any] | BadRecord]:
    """A batch as dictionaries; row by row only if some text in it is not UTF-8."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        if len(batch) == 1:
            return [BadRecord("not UTF-8", repr(error.object[:SNIPPET]), "UTF-8 text",
                              "Write the column as UTF-8.")]
    return [row for start in range(len(batch)) for row in rows_of(batch.slice(start, 1))]
