"""Interactions and search events, read into columns: block by block with Arrow, or row by row.

A block of lines whose records are all regular is parsed and checked by Arrow at once. Any block
with something else in it (a bad record, an escape, a number with a fraction) is read row by row by
``tasks.raw_records``, which alone decides what is good, and names what is not.
"""

import array
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from tasks import raw_files, raw_formats, raw_paths, raw_records
from tasks.raw_files import Rejects, Source
from tasks.raw_formats import BadRecord
from tasks.raw_records import ACTIONS, COUNT_FIELDS, INTERACTION_FIELDS, MAX_COUNT, MAX_TEXT

BLOCK_LINES = 16384
NO_TIME, NO_USER = -1, 0
TEXTS = ("query", "item_id", "user_id", "action")


@dataclasses.dataclass
class Events:
    """Interactions in the order of the files; those that weigh nothing are left out."""

    query: np.ndarray  # int64 [E], query_index
    item: np.ndarray  # int64 [E], item_index
    counts: np.ndarray  # int64 [E, 3], by COUNT_FIELDS
    time: np.ndarray  # int64 [E], seconds since 1970; NO_TIME: not given
    user: np.ndarray  # uint64 [E], hash of the user; NO_USER: not given
    read: int  # interactions read, those that weigh nothing included

    def where(self, mask: np.ndarray) -> "Events":
        return Events(self.query[mask], self.item[mask], self.counts[mask], self.time[mask],
                      self.user[mask], self.read)


def user_hash(user: str | None) -> int:
    """64 bits that stand for a user; NO_USER for none."""
    if user is None:
        return NO_USER
    return int.from_bytes(hashlib.blake2b(user.encode(), digest_size=8).digest(), "big") or 1


class _Columns:
    """Collects events, and numbers queries by first appearance."""

    def __init__(self, known: Mapping[str, int], queries: dict[str, int], weights, lower: bool):
        self.known, self.queries, self._lower = known, queries, lower
        self._weights = tuple(weights)
        self._counted = np.array([weight > 0 for weight in weights])
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._rows = [array.array(kind) for kind in "qqqqQ"]
        self.read = 0

    def text(self, query: str) -> str:
        """The query as it is kept."""
        return query.lower() if self._lower else query

    def add(self, found: raw_records.Interaction) -> None:
        """Adds one event."""
        self.read += 1
        if not any(count and weight for count, weight in zip(found.counts, self._weights)):
            return
        query, item, counts, time, user = self._rows
        query.append(self.queries.setdefault(self.text(found.query), len(self.queries)))
        item.append(found.item_index)
        counts.extend(found.counts)
        time.append(NO_TIME if found.timestamp is None else found.timestamp)
        user.append(user_hash(found.user_id))

    def add_block(self, block: Mapping[str, Any]) -> bool:
        """Adds the events of a regular block; False, and nothing is added, if it is not regular."""
        item = np.fromiter((self.known.get(each, -1) for each in block["item_id"].to_pylist()),
                           np.int64, len(block["item_id"]))
        if (item < 0).any():
            return False
        texts = block["query"].dictionary_encode()
        names = [raw_records.normalise_query(text) for text in texts.dictionary.to_pylist()]
        if not all(names):
            return False
        self.flush()
        keep = ((block["counts"] > 0) & self._counted).any(axis=1)
        codes = texts.indices.to_numpy(zero_copy_only=False)[keep]
        self.read += len(item)
        index = np.full(len(names), -1, np.int64)
        _, first = np.unique(codes, return_index=True)
        for code in codes[np.sort(first)].tolist():  # in order of appearance
            index[code] = self.queries.setdefault(self.text(names[code]), len(self.queries))
        self._parts.append((index[codes], item[keep], block["counts"][keep], block["time"][keep],
                            block["user"][keep]))
        return True

    def flush(self) -> None:
        """Turns the rows added one by one into arrays."""
        query, item, counts, time, user = self._rows
        if query:
            self._parts.append((
                np.array(query, np.int64), np.array(item, np.int64),
                np.array(counts, np.int64).reshape(-1, 3), np.array(time, np.int64),
                np.array(user, np.uint64)))
            self._rows = [array.array(kind) for kind in "qqqqQ"]

    def events(self) -> Events:
        """All of them."""
        self.flush()
        empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.int64),
                 np.zeros(0, np.int64), np.zeros(0, np.uint64))
        return Events(*(np.concatenate(parts) for parts in zip(empty, *self._parts)), self.read)


def read_events(source: pathlib.Path | Source, known: Mapping[str, int], queries: dict[str, int],
                weights: tuple[float, float, float], rejects: Rejects, lower: bool = False
                ) -> Events:
    """Reads interactions; fills ``queries`` with query_index by text.

    Args:
      source: the files; ``known``: item_index by item_id; ``weights``: of click, contact, purchase.
      rejects: receives bad records.
      lower: queries are lower-cased.

    Raises UserError for a file that cannot be read or holds no good record.
    """
    source = raw_files.as_source(source, "interactions")
    columns = _Columns(known, queries, weights, lower)
    bad_before = sum(rejects.counts.values())
    for path in source.files:
        if path.name.endswith(raw_paths.PARQUET_SUFFIX):
            blocks = _parquet_blocks(path, source)
        elif path.name.endswith(raw_paths.CSV_SUFFIXES):
            blocks = ((None, [found]) for found in raw_formats.read_file(
                path, "interactions", INTERACTION_FIELDS, source.columns))
        else:
            blocks = _json_blocks(path, source)
        for table, rows in blocks:
            block = None if table is None else _regular(table)
            if block is None or not columns.add_block(block):
                _add_rows(columns, path, rows, rejects)
    if not columns.read:
        raw_files.refuse_empty(source, "interactions", sum(rejects.counts.values()) - bad_before)
    return columns.events()


def _add_rows(columns: _Columns, path: Any, rows: Any, rejects: Rejects) -> None:
    for number, found, raw in rows:
        try:
            if isinstance(found, BadRecord):
                raise found
            columns.add(raw_records.parse_interaction(found, columns.known))
        except BadRecord as bad:
            rejects.add(path, number, bad, raw)


def _json_blocks(path: Any, source: Source) -> Iterator[tuple[pa.Table | None, Iterator]]:
    lines: list[tuple[int, bytes]] = []

    def block() -> tuple[pa.Table | None, Iterator]:
        found = list(lines)
        lines.clear()
        return _arrow_json([line for _, line in found], source.columns), (
            (number, raw_formats.renamed(raw_formats.parse_json(line), source.columns), line)
            for number, line in found)

    for number, line in raw_formats.numbered_lines(path, "interactions", 5.0):
        if line.strip():
            lines.append((number, line))
        if len(lines) == BLOCK_LINES:
            yield block()
    if lines:
        yield block()


def _arrow_json(lines: list[bytes], columns: Mapping[str, str]) -> pa.Table | None:
    """The lines as a table under our names; None if Arrow does not take each as one record."""
    first = raw_formats.parse_json(lines[0])
    if isinstance(first, BadRecord):
        return None
    kinds = {str: pa.string(), int: pa.int64()}
    theirs = {name: columns.get(name, name) for name in INTERACTION_FIELDS}
    schema = []
    for name, column in theirs.items():
        value = first.get(column)
        if value is None:
            kind = pa.string() if name in TEXTS else pa.int64()
        elif type(value) in kinds:
            kind = kinds[type(value)]
        else:
            return None
        if (kind == pa.string()) != (name in TEXTS):
            return None
        schema.append(pa.field(column, kind))
    if len({field.name for field in schema}) < len(schema):
        return None
    if not all(line.startswith(b"{") and line.rstrip().endswith(b"}") for line in lines):
        return None
    data = b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines)
    try:
        table = pajson.read_json(
            pa.BufferReader(data),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pajson.ParseOptions(pa.schema(schema), newlines_in_values=False,
                                              unexpected_field_behavior="ignore"))
        table.validate(full=True)
    except (pa.ArrowException, OSError):
        return None
    if len(table) != len(lines):
        return None
    return table.select([theirs[name] for name in theirs]).rename_columns(list(theirs))


def _parquet_blocks(path: Any, source: Source) -> Iterator[tuple[pa.Table | None, Iterator]]:
    number = 0
    for batch in raw_formats.parquet_batches(path, "interactions", INTERACTION_FIELDS,
                                             source.columns, 5.0):
        start, number = number, number + len(batch)

        def rows(batch=batch, start=start):
            for place, row in enumerate(raw_formats.rows_of(batch), start=start + 1):
                yield place, row, row if isinstance(row, dict) else row.got

        yield _typed(batch), rows()


def _typed(batch: pa.RecordBatch) -> pa.Table | None:
    """The batch with exactly our columns and types; None if it has others."""
    columns = {}
    for name in INTERACTION_FIELDS:
        kind = pa.string() if name in TEXTS else pa.int64()
        if name not in batch.schema.names:
            columns[name] = pa.nulls(len(batch), kind)
            continue
        found = batch.column(name)
        if found.type == pa.large_string() and kind == pa.string() or (
                pa.types.is_integer(found.type) and kind == pa.int64()):
            found = found.cast(kind)
        if found.type != kind:
            return None
        columns[name] = found
    table = pa.table(columns)
    try:
        table.validate(full=True)
    except pa.ArrowException:
        return None
    return table


def _regular(table: pa.Table) -> dict[str, Any] | None:
    """Columns of a table whose records are all good, but for unknown items; None otherwise."""
    table = table.combine_chunks()
    if not len(table) or table["query"].null_count or table["item_id"].null_count:
        return None
    for name in TEXTS:
        lengths = pc.min_max(pc.utf8_length(table[name])).as_py()
        if lengths["min"] is not None and not 0 < lengths["min"] <= lengths["max"] <= MAX_TEXT:
            return None
    blank = pc.or_(pc.equal(pc.utf8_trim_whitespace(table["item_id"]), ""),
                   pc.fill_null(pc.equal(pc.utf8_trim_whitespace(table["user_id"]), ""), False))
    if pc.any(blank).as_py():
        return None
    counts = np.stack([pc.fill_null(table[name], 0).to_numpy() for name in COUNT_FIELDS], axis=1)
    if table["action"].null_count < len(table):
        if table["action"].null_count:
            return None
        number = pc.fill_null(table["count"], 1).to_numpy()
        if number.min() < 0 or number.max() > MAX_COUNT:
            return None
        actions = [ACTIONS.get(name) for name in table["action"].to_pylist()]
        if None in actions:
            return None
        counts = np.zeros_like(counts)
        counts[np.arange(len(counts)), actions] = number
    if counts.min() < 0 or counts.max() > MAX_COUNT or not counts.any(axis=1).all():
        return None
    time = pc.fill_null(table["timestamp"], NO_TIME).to_numpy()
    if table["timestamp"].null_count < len(table):
        given = table["timestamp"].drop_null().to_numpy()
        if given.min() < 0 or given.max() > raw_records.latest():
            return None  # also milliseconds, which the rows tell from seconds
    user = np.fromiter((user_hash(each) for each in table["user_id"].to_pylist()), np.uint64,
                       len(table)) if table["user_id"].null_count < len(table) else np.zeros(
                           len(table), np.uint64)
    return {"query": table["query"].chunk(0), "item_id": table["item_id"].chunk(0),
            "counts": counts, "time": time, "user": user}
