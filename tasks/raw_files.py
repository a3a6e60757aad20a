"""Streaming readers of a user's raw files, with every bad record named by file and line.

JSON lines, CSV (both also compressed) and Parquet give the same records. A bad record raises
UserError, or is set aside by ``Rejects`` and the rest goes on; what a good record is says
``tasks.raw_records``.
"""

import collections
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from gsid_jax.errors import UserError
from tasks import raw_formats
from tasks.raw_formats import BadRecord, unit
from tasks.raw_paths import JSON_SUFFIXES, PARQUET_SUFFIX, RawFile, Source, check_path

__all__ = ["BadRecord", "JSON_SUFFIXES", "PARQUET_SUFFIX", "Rejects", "Source", "check_path",
           "numbered_records", "read_records", "source_records"]
Record = TypeVar("Record")
MAX_RAW = 2000  # characters of a bad record kept in the rejects file


class Rejects:
    """Counts bad records and writes them to a JSONL file, or stops at the first.

    Args:
      path: the rejects file, one line per bad record with ``file``, ``line`` (row for Parquet,
        from 1), ``reason``, ``detail`` and ``raw`` (the record as text, cut to ``MAX_RAW``; bytes
        that are no UTF-8 as ``\\xNN``). None: the first bad record raises UserError.
    """

    def __init__(self, path: pathlib.Path | None = None):
        self.counts: collections.Counter[str] = collections.Counter()
        self._file = None if path is None else open(path, "w", encoding="utf-8")

    def add(self, path: pathlib.Path | RawFile, number: int, bad: BadRecord, raw: Any) -> None:
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
                "raw": text if len(text) <= MAX_RAW else text[:MAX_RAW] + "..."}
        self._file.write(json.dumps(line) + "\n")

    def silent(self) -> "Rejects":
        """Rejects for reading a file a second time: its bad records were reported before."""
        return _Silent()

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


class _Silent(Rejects):
    def add(self, path: pathlib.Path | RawFile, number: int, bad: BadRecord, raw: Any) -> None:
        self.counts[bad.reason] += 1


def as_source(files: pathlib.Path | RawFile | Source, kind: str) -> Source:
    """One file as a source; a source as it is."""
    return files if isinstance(files, Source) else Source(kind, (files,))


def read_records(files: pathlib.Path | RawFile | Source, kind: str, fields: Sequence[str],
                 parse: Callable[[dict[str, Any]], Record], rejects: Rejects) -> Iterator[Record]:
    """Yields ``parse(record)`` for each good record, file after file, in order.

    Args:
      files: a file checked by ``check_path``, or what ``raw_paths.resolve`` found.
      kind: what the file holds, for messages: ``items``, ``interactions``, ...
      fields: the columns to read from Parquet; others are ignored in all formats.
      parse: raises BadRecord for a record that breaks the format.
      rejects: receives bad records, and may stop at the first.

    Raises UserError for a file that cannot be read, and if there is not a single good record.
    """
    for _, _, record in source_records(as_source(files, kind), kind, fields, parse, rejects):
        yield record


def numbered_records(path: pathlib.Path | RawFile, kind: str, fields: Sequence[str],
                     parse: Callable[[dict[str, Any]], Record], rejects: Rejects,
                     interval: float = 5.0) -> Iterator[tuple[int, Record]]:
    """As ``read_records`` of one file, each with its line (row for Parquet) in it, from 1.

    ``interval`` are the seconds between two progress lines.
    """
    for _, number, record in source_records(as_source(path, kind), kind, fields, parse, rejects,
                                            interval):
        yield number, record


def source_records(source: Source, kind: str, fields: Sequence[str],
                   parse: Callable[[dict[str, Any]], Record], rejects: Rejects,
                   interval: float = 5.0) -> Iterator[tuple[int, int, Record]]:
    """As ``read_records``, each record with the number of its file, from 0, and its line."""
    good, bad_before = 0, sum(rejects.counts.values())
    for place, path in enumerate(source.files):
        for number, found, raw in raw_formats.read_file(path, kind, fields, source.columns,
                                                        interval):
            try:
                if isinstance(found, BadRecord):
                    raise found
                record = parse(found)
            except BadRecord as bad:
                rejects.add(path, number, bad, raw)
                continue
            good += 1
            yield place, number, record
    if not good:
        refuse_empty(source, kind, sum(rejects.counts.values()) - bad_before)


def refuse_empty(source: Source, kind: str, skipped: int) -> None:
    """Raises UserError: a source without a single good record is always a mistake."""
    raise UserError(f"{kind} file {source} is empty: got 0 good records and {skipped:,} bad "
                    "ones, expected at least one: check that it is the right file")
