"""Parquet files of semantic IDs, written in parts so that a killed run continues.

``OUT.parquet.parts/`` holds ``fingerprint.json`` (what the parts were made from) and one finished
file per ``part_rows`` input rows. When every part is there they are joined, in order, to
``OUT.parquet`` and removed. Every file appears under its final name only when it is complete.
"""

import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.encode import Encoder
from gsid_jax.errors import UserError
from gsid_jax.manifest import difference, write_json
from gsid_jax.progress import Progress

KEY_COLUMN = {"item": "item_id", "query": "query"}
FINGERPRINT = b"gsid.fingerprint"  # key in the Parquet file's metadata


class InputRow(NamedTuple):
    """One text to encode: its 0-based row in the input, its id, and the text or its token ids."""
    row: int
    key: str
    text: str | Sequence[int]


def path_string(codes: Sequence[int]) -> str:
    """Returns codes as a path: (17, 3, 101) -> ``'17-3-101'``."""
    return "-".join(map(str, codes))


def id_table(kind: str, rows: Sequence[InputRow], encoded: Mapping[str, np.ndarray],
             embeddings: bool) -> pa.Table:
    """Builds a table of rows and what the encoder made of them.

    Columns: ``row`` int64 (0-based input row), ``item_id`` or ``query`` string, ``codes``
    list<int32>[T], ``path`` string, ``log_prob`` float32 (natural log-probability of the whole ID),
    ``level_probs`` list<float32>[T] (probability of each code given those before it) and, if asked
    for or if the model has no codes, ``embedding`` fixed_size_list<float32>[D].
    """
    columns = {"row": pa.array([row.row for row in rows], pa.int64()),
               KEY_COLUMN[kind]: pa.array([row.key for row in rows], pa.string())}
    if "codes" in encoded:
        codes, log_prob = encoded["codes"], encoded["log_prob"]
        columns |= {
            "codes": _list_array(codes.astype(np.int32)),
            "path": pa.array([path_string(row) for row in codes.tolist()], pa.string()),
            "log_prob": pa.array(log_prob.sum(axis=-1, dtype=np.float32), pa.float32()),
            "level_probs": _list_array(np.exp(log_prob).astype(np.float32)),
        }
    if embeddings or "codes" not in encoded:
        values = encoded["embedding"].astype(np.float32)
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(
            pa.array(values.reshape(-1)), values.shape[1])
    return pa.table(columns)


def _list_array(values: np.ndarray) -> pa.ListArray:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))


def parts_directory(output: pathlib.Path) -> pathlib.Path:
    """Where the parts of an output lie while it is made."""
    return output.with_name(output.name + ".parts")


def check_free(output: pathlib.Path) -> None:
    """Raises UserError if the output exists."""
    if output.exists():
        raise UserError(f"output {output} exists already; expected a new file: choose another "
                        "--output, or pass --overwrite")


class IdFile:
    """One Parquet output in the making: its parts, their fingerprint and the final join.

    Several processes (``shards``) may fill different parts of one output; the one that finds all
    parts finished joins them. Two that do so at once write the same bytes, so no lock is needed.

    Args:
      output: the Parquet file to make.
      fingerprint: whatever decides the contents, JSON values; parts made otherwise are refused.
      rows: number of input rows, bad ones included.
      part_rows: input rows per part.
    """

    def __init__(self, output: str | os.PathLike, fingerprint: Mapping[str, Any], rows: int,
                 part_rows: int = 10_000):
        self.output = pathlib.Path(output)
        self.rows, self._part_rows = rows, part_rows
        self.parts = -(-rows // part_rows)
        self._directory = parts_directory(self.output)
        fingerprint = {**fingerprint, "rows": rows, "part_rows": part_rows}
        self._fingerprint = json.loads(json.dumps(fingerprint))

    def complete(self) -> bool:
        """Tells whether the output exists and was made from the same things."""
        return self.output.exists() and self._output_fingerprint() == self._fingerprint

    def open(self, overwrite: bool = False) -> bool:
        """Prepares the directory of parts; returns False if the output is complete already.

        That is the case when a run was killed between the join and the removal of the parts.
        Raises UserError if the output exists otherwise, or if parts of a different input, model or
        option lie there; with ``overwrite`` the first is replaced at the join, the second removed.
        """
        known = self._directory / "fingerprint.json"
        found = json.loads(known.read_text(encoding="utf-8")) if known.exists() else None
        if found == self._fingerprint and not overwrite and self.complete():
            self._clean()
            return False
        if not overwrite:
            check_free(self.output)
        if found is not None and found != self._fingerprint:
            if not overwrite:
                raise UserError(
                    f"unfinished parts in {self._directory} were made differently: "
                    f"{difference(found, self._fingerprint)}; expected the same settings to "
                    "continue: restore them, or pass --overwrite to start again")
            self._clean()
        self._directory.mkdir(parents=True, exist_ok=True)
        if not known.exists():
            write_json(known, self._fingerprint)
        return True

    def fill(self, encoder: Encoder, kind: str, rows: Iterable[InputRow], embeddings: bool = False,
             shards: int = 1, shard_index: int = 0, label: str = "encoding",
             codes: np.ndarray | None = None) -> None:
        """Encodes ``rows``, ascending by ``row``, into the parts of this shard not yet finished.

        ``codes`` int [rows, C] forces the first C codes of every row's ID.
        """
        encoder.expect(self.rows)

        def table(part_rows: list[InputRow], progress: Progress) -> pa.Table:
            encoded = encoder.encode_tokens(
                [encoder.tokenize(row.text, kind) if isinstance(row.text, str) else row.text
                 for row in part_rows],
                codes=None if codes is None else codes[[row.row for row in part_rows]],
                progress=progress)
            return id_table(kind, part_rows, encoded, embeddings)

        self.fill_parts(rows, table, shards, shard_index, label)

    def fill_parts(self, rows: Iterable[InputRow],
                   table_of: Callable[[list[InputRow], Progress], pa.Table], shards: int = 1,
                   shard_index: int = 0, label: str = "parts") -> None:
        """Makes the parts of this shard not yet finished; ``table_of`` makes one part's table from
        its rows, of one schema whatever the rows, and tells the progress of each row."""
        mine = range(shard_index, self.parts, shards)
        missing = {part for part in mine if not self._part(part).exists()}
        total, todo = (sum(map(self._part_size, parts)) for parts in (mine, missing))
        progress = Progress(label, total, done=total - todo)
        for part, part_rows in self._by_part(rows) if missing else ():
            if part not in missing:
                continue
            table = table_of(part_rows, progress)
            progress.update(self._part_size(part) - len(part_rows))  # bad rows are done, too
            self._write(self._part(part), table)
        progress.finish()

    def _by_part(self, rows: Iterable[InputRow]) -> Iterator[tuple[int, list[InputRow]]]:
        groups = itertools.groupby(rows, lambda row: row.row // self._part_rows)
        group = next(groups, None)
        for part in range(self.parts):
            if group is not None and group[0] == part:
                yield part, list(group[1])
                group = next(groups, None)
            else:
                yield part, []  # every row of it was bad

    def _part(self, part: int) -> pathlib.Path:
        return self._directory / f"part-{part:06d}.parquet"

    def _part_size(self, part: int) -> int:
        return min(self._part_rows, self.rows - part * self._part_rows)

    def _write(self, path: pathlib.Path, table: pa.Table) -> None:
        partial = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        pq.write_table(table, partial)
        os.replace(partial, path)

    def tables(self) -> Iterator[pa.Table]:
        """Reads the finished parts in order."""
        for part in range(self.parts):
            yield pq.read_table(self._part(part))

    def join(self, drop: Sequence[str] = ()) -> int | None:
        """Joins all parts, less the columns ``drop``; returns the number of rows written.

        Returns None, and joins nothing, if other shards have parts to finish. Memory: one part.
        """
        if not all(self._part(part).exists() for part in range(self.parts)):
            return self._joined_elsewhere()
        partial = self.output.with_name(f"{self.output.name}.tmp-{os.getpid()}")
        try:
            metadata = {FINGERPRINT: json.dumps(self._fingerprint, sort_keys=True)}
            tables = (table.drop_columns(list(drop)) for table in self.tables())
            first = next(tables)
            schema = first.schema.with_metadata(metadata)
            with pq.ParquetWriter(partial, schema) as writer:
                for table in itertools.chain([first], tables):
                    writer.write_table(table.cast(schema))
        except FileNotFoundError:  # another shard joined and removed the parts meanwhile
            partial.unlink(missing_ok=True)
            return self._joined_elsewhere()
        os.replace(partial, self.output)
        self._clean()
        return pq.read_metadata(self.output).num_rows

    def _joined_elsewhere(self) -> int | None:
        return pq.read_metadata(self.output).num_rows if self.complete() else None

    def _output_fingerprint(self) -> Any:
        text = (pq.read_schema(self.output).metadata or {}).get(FINGERPRINT)
        return None if text is None else json.loads(text)

    def _clean(self) -> None:
        for file in self._directory.glob("part-*"):
            file.unlink(missing_ok=True)
        shutil.rmtree(self._directory, ignore_errors=True)  # the fingerprint goes after its parts
