"""What offline inference reads: a file of items or queries, or a SeqIO task.

An input is read twice: a first pass checks every record, so that a bad one stops the run before the
model is loaded, and the second one feeds the model.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.id_files import InputRow
from gsid_jax.manifest import file_hash
from tasks import raw_files, raw_records
from tasks.raw_files import BadRecord, Rejects

quiet.tensorflow()
with quiet.silenced_stderr():
    import seqio  # pylint: disable=wrong-import-position

TEXT_SUFFIX = ".txt"
FIELDS = {"item": ("item_id", "title", "description"), "query": ("query",)}


@dataclasses.dataclass
class FileInput:
    """Items or queries of a JSONL(.gz), Parquet or .txt file (one text per line).

    ``rows`` is the number of lines (rows of Parquet) up to the last that is not blank; ``blank`` of
    them are; ``rejects`` says what the check set aside. The rest gives one row each.
    """
    path: pathlib.Path
    kind: str
    rows: int
    blank: int
    rejects: Rejects

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The contents, for telling one input from another."""
        return {"input": self.path.name, "input_sha256": file_hash(self.path)}

    def read(self) -> Iterator[InputRow]:
        """Yields the good rows in order."""
        return _rows(self.path, self.kind, _Silent(), interval=math.inf)


class _Silent(Rejects):
    """Passes over bad records without a word: they were reported by the first pass."""

    def add(self, path: pathlib.Path, number: int, bad: BadRecord, raw: Any) -> None:
        self.counts[bad.reason] += 1


class _Counting(Rejects):
    """Remembers the last bad line, from 1."""

    last = 0

    def add(self, path: pathlib.Path, number: int, bad: BadRecord, raw: Any) -> None:
        super().add(path, number, bad, raw)
        self.last = number


def is_file(name: str) -> bool:
    """Tells whether an input is meant as a file: it exists, or looks like a path of one."""
    known = (*raw_files.JSON_SUFFIXES, raw_files.PARQUET_SUFFIX, TEXT_SUFFIX)
    return os.path.exists(name) or name.endswith(known) or os.sep in name


def open_file(path: str | os.PathLike, kind: str, rejects_path: pathlib.Path | None) -> FileInput:
    """Checks a file. Bad records go to ``rejects_path``, if there are any.

    Raises UserError for a file that is missing, unreadable, of an unknown type or without a good
    record; and, with ``rejects_path`` None, at the first bad record, naming file and line.
    """
    path = pathlib.Path(path)
    if not path.name.endswith(TEXT_SUFFIX):
        path = raw_files.check_path(path, "input")
    elif not path.is_file():
        raise UserError(f"input file {path} does not exist; expected a text file: correct --input")
    partial = None
    if rejects_path is not None:
        partial = rejects_path.with_name(f"{rejects_path.name}.tmp-{os.getpid()}")
    rejects = _Counting(partial)
    good = last = 0
    try:
        for row in _rows(path, kind, rejects):
            good, last = good + 1, row.row + 1
    finally:
        rejects.close()
        if partial is not None and sum(rejects.counts.values()):
            os.replace(partial, rejects_path)
        elif partial is not None:
            partial.unlink()
    rows = max(last, rejects.last)
    return FileInput(path, kind, rows, rows - good - sum(rejects.counts.values()), rejects)


def _rows(path: pathlib.Path, kind: str, rejects: Rejects, interval: float = 5.0
          ) -> Iterator[InputRow]:
    if path.name.endswith(TEXT_SUFFIX):
        yield from _text_rows(path, kind, rejects)
        return
    parse = _parse_item if kind == "item" else _parse_query
    for number, (key, text) in raw_files.numbered_records(path, "input", FIELDS[kind], parse,
                                                          rejects, interval):
        yield InputRow(number - 1, str(number - 1) if key is None else key, text)


def _parse_item(record: Mapping[str, Any]) -> tuple[str | None, str]:
    if record.get("title") is None:
        fields = ", ".join(record) or "none"
        raise BadRecord("missing field", f"no 'title' (fields given: {fields})",
                        "a string in 'title'", "Add 'title'.")
    record = {name: record[name] for name in FIELDS["item"] if record.get(name) is not None}
    item = raw_records.parse_item({"item_id": "-"} | record, {})
    return (item.item_id if "item_id" in record else None), item.text


def _parse_query(record: Mapping[str, Any]) -> tuple[str, str]:
    query = raw_records.parse_query(record)
    return query, query


def _text_rows(path: pathlib.Path, kind: str, rejects: Rejects) -> Iterator[InputRow]:
    good = False
    with open(path, "rb") as file:
        for row, line in enumerate(file):
            line = line.removeprefix(b"\xef\xbb\xbf") if row == 0 else line
            try:
                text = line.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                bad = BadRecord("not UTF-8",
                                f"byte 0x{line[error.start]:02x} at position {error.start}",
                                "UTF-8 text", "Convert the file to UTF-8.")
                rejects.add(path, row + 1, bad, line.decode("utf-8", "backslashreplace").rstrip())
                continue
            text = raw_records.item_text(text) if kind == "item" else (
                raw_records.normalise_query(text))
            if not text:
                bad = BadRecord("empty text", "a blank line", "one text per line",
                                "Fill in or remove the line.")
                rejects.add(path, row + 1, bad, "")
                continue
            good = True
            yield InputRow(row, str(row) if kind == "item" else text, text)
    if not good:
        raise UserError(f"input file {path} is empty: got 0 good lines, expected at least one: "
                        "check that it is the right file")


@dataclasses.dataclass
class TaskInput:
    """Examples of a SeqIO task with an 'inputs' feature, such as gsid_items and gsid_queries."""
    task: seqio.Task
    split: str
    max_length: int
    rows: int
    blank: int = 0
    rejects: Rejects = dataclasses.field(default_factory=Rejects)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Task, split and number of examples."""
        return {"input": self.task.name, "split": self.split}

    def read(self) -> Iterator[InputRow]:
        """Yields the examples in order; the id is their 'id', else their text."""
        dataset = self.task.get_dataset({"inputs": self.max_length}, self.split, shuffle=False,
                                        num_epochs=1)
        for row, example in enumerate(dataset.as_numpy_iterator()):
            key = example.get("id", example.get("inputs_pretokenized", str(row).encode()))
            yield InputRow(row, key.decode("utf-8"), example["inputs"].tolist())


def open_task(name: str, split: str, max_length: int) -> TaskInput:
    """Looks a task up. UserError if there is none of that name, or it has no 'inputs'."""
    if name not in seqio.TaskRegistry.names():
        raise UserError(f"--input={name} is neither a file nor a SeqIO task; expected a path that "
                        f"exists or one of {', '.join(sorted(seqio.TaskRegistry.names()))}")
    task = seqio.TaskRegistry.get(name)
    if "inputs" not in task.output_features:
        raise UserError(f"task {name} has no feature 'inputs' (it has "
                        f"{', '.join(task.output_features)}); expected one: use gsid_items or "
                        "gsid_queries")
    rows = task.num_input_examples(split)
    if not rows:
        raise UserError(f"task {name} has no examples in split '{split}'; expected at least one: "
                        "check --split and the data directory")
    return TaskInput(task, split, max_length, rows)
