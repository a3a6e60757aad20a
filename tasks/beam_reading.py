"""Raw files on Apache Beam: blocks of records, each with its place, and results back in files.

A plain JSONL file is read by many workers at once, Parquet, CSV and compressed files by one each.
"""

import dataclasses
import pickle
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import raw_formats, raw_paths
from tasks.raw_files import Rejects, Source, refuse_empty
from tasks.raw_formats import BadRecord

BLOCK_BYTES = 1 << 25
RAW_CHARACTERS = 4000  # of a bad record that is passed on


def beam_module() -> Any:
    """Apache Beam; UserError naming the extra if it is not installed."""
    try:
        return quiet.beam()
    except ImportError as error:
        raise UserError("Apache Beam is not installed; expected it for --beam_runner: pip install "
                        "gsid_jax[beam]") from error


def pipeline(runner: str, options: str) -> Any:
    """A pipeline on a runner; UserError for a runner that Beam does not know."""
    beam = beam_module()
    from apache_beam.options.pipeline_options import PipelineOptions
    try:
        return beam.Pipeline(runner=runner, options=PipelineOptions(shlex.split(options)))
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"Beam runner {runner!r} cannot be used ({error}); expected one that Beam "
                        "knows, such as DirectRunner or FlinkRunner: correct --beam_runner"
                        ) from error


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of one file of a source: bytes ``start`` to ``end``, or all of it."""

    place: int  # of the file in the source
    start: int
    end: int
    whole: bool


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A bad record on its way to the rejects file."""

    place: int
    number: int
    bad: tuple[str, str, str, str]
    raw: Any


def blocks(source: Source) -> list[Block]:
    """Cuts a source into blocks of ``BLOCK_BYTES``, in order."""
    found, block_bytes = [], BLOCK_BYTES
    for place, file in enumerate(source.files):
        if file.name.endswith((".jsonl", ".ndjson")):
            size = raw_paths.size(file)
            found += [Block(place, start, min(start + block_bytes, size), False)
                      for start in range(0, max(size, 1), block_bytes)]
        else:
            found.append(Block(place, 0, 0, True))
    return found


def count_lines(source: Source, block: Block) -> tuple[tuple[int, int], int]:
    """((file, start), lines that begin in the block)."""
    return (block.place, block.start), 0 if block.whole else sum(
        1 for _ in _lines(source.files[block.place], block))


def first_numbers(counts: Sequence[tuple[tuple[int, int], int]]) -> dict[tuple[int, int], int]:
    """Number of the first line of each block, from 1."""
    first, at = {}, {}
    for key, count in sorted(counts):
        first[key] = at.setdefault(key[0], 1)
        at[key[0]] += count
    return first


def _lines(file: Any, block: Block) -> Iterator[bytes]:
    with raw_paths.open_raw(file) as raw:
        stream = raw_paths.unpacked(raw, "")
        if block.start:
            stream.seek(block.start - 1)
            stream.readline()  # the line that the block before ends with
        while stream.tell() < block.end:
            yield stream.readline()


def records(source: Source, block: Block, first: dict[tuple[int, int], int], kind: str,
            fields: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | BadRecord, Any]]:
    """(line or row, record or what is wrong with it, raw) of a block."""
    file = source.files[block.place]
    if block.whole:
        yield from raw_formats.read_file(file, kind, fields, source.columns, float("inf"))
        return
    number = first[(block.place, block.start)]
    for number, line in enumerate(_lines(file, block), start=number):
        if number == 1:
            line = line.removeprefix(raw_formats.BOM)
        if line.strip():
            yield number, raw_formats.renamed(raw_formats.parse_json(line), source.columns), line


def parsed(source: Source, block: Block, first: dict[tuple[int, int], int], kind: str,
           fields: Sequence[str], parse: Callable[[dict[str, Any]], Any]
           ) -> Iterator[tuple[tuple[int, int], Any]]:
    """((file, line), parsed record or Rejected) of a block."""
    for number, found, raw in records(source, block, first, kind, fields):
        try:
            if isinstance(found, BadRecord):
                raise found
            yield (block.place, number), parse(found)
        except BadRecord as bad:
            raw = raw[:RAW_CHARACTERS] if isinstance(raw, (str, bytes)) else repr(raw)[
                :RAW_CHARACTERS]
            yield (block.place, number), Rejected(block.place, number, (
                bad.reason, bad.got, bad.expected, bad.fix), raw)


def read(begin: Any, source: Source, kind: str, fields: Sequence[str],
         parse: Callable[[dict[str, Any]], Any]) -> Any:
    """PCollection of (Block, [((file, line), parsed record or Rejected)]), one per block."""
    beam = beam_module()
    found = begin | f"{kind} blocks" >> beam.Create(blocks(source)) | (
        f"spread {kind}" >> beam.Reshuffle())
    counts = found | f"count lines of {kind}" >> beam.Map(lambda block: count_lines(source, block))
    first = counts | f"{kind} to list" >> beam.combiners.ToList() | (
        f"number {kind}" >> beam.Map(first_numbers))
    return found | f"parse {kind}" >> beam.Map(
        lambda block, first: (block, list(parsed(source, block, first, kind, fields, parse))),
        beam.pvalue.AsSingleton(first))


def report(rejected: list[Rejected], source: Source, rejects: Rejects) -> None:
    """Hands bad records to ``rejects`` in the order of the files."""
    for each in sorted(rejected, key=lambda each: (each.place, each.number)):
        rejects.add(source.files[each.place], each.number, BadRecord(*each.bad), each.raw)


def check_good(good: int, source: Source, kind: str, rejected: int) -> None:
    """Raises UserError for a source without a good record."""
    if not good:
        refuse_empty(source, kind, rejected)


def write_result(path: str, value: Any) -> str:
    """Writes a result where the driver finds it, complete or not at all; returns the path."""
    from apache_beam.io.filesystems import FileSystems
    temporary = f"{path}.tmp"
    with FileSystems.create(temporary) as file:
        pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
    FileSystems.rename([temporary], [path])
    return path


def results(directory: str, prefix: str) -> Iterator[Any]:
    """What ``write_result`` left under a prefix, in the order of the names."""
    from apache_beam.io.filesystems import FileSystems
    found, = FileSystems.match([FileSystems.join(directory, f"{prefix}-*.pickle")])
    for path in sorted(each.path for each in found.metadata_list):
        with FileSystems.open(path) as file:
            yield pickle.load(file)
