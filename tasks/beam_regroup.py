"""The next step's records on Apache Beam: the same files as ``gsid_jax.step_records`` writes.

Workers read the catalogue's files, send each record to its shard and write the shards. They share
the directories of the dataset and of the assignment with the process that starts them.
"""

import functools
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator

from gsid_jax import assign, step_records
from tasks import beam_reading, record_files, step_builder

Arguments = tuple[str, str, int, int, int]


def write_step_records(directory: pathlib.Path, data_dir: pathlib.Path, codebook_size: int,
                       group_size: int, seed: int, runner: str, options: str) -> dict[str, int]:
    """Writes ``directory/gsid_step`` from the codes stored there; records by split.

    As ``step_records.write_step_records``, but started again it begins anew.
    """
    beam = beam_reading.beam_module()
    arguments = (os.fspath(directory), os.fspath(data_dir), codebook_size, group_size, seed)
    plan = _plan(arguments)
    levels = plan.items.codes.shape[1]
    partial = directory / f"{step_builder.NAME}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    builder = step_builder.GsidStep(num_levels=levels, data_dir=partial)
    folder, work = pathlib.Path(builder.data_dir), directory / "regroup.beam"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    folder.mkdir(parents=True)
    with beam_reading.pipeline(runner, options) as begin:
        _ = (begin | beam.Create(plan.files("train")) | beam.Reshuffle()
             | "ranks" >> beam.FlatMap(_ranked, arguments)
             | beam.GroupByKey()
             | "write" >> beam.Map(_write, arguments, os.fspath(folder), os.fspath(work)))
        if "validation" in plan.builder.info.splits:
            _ = (begin | "validation" >> beam.Create(list(enumerate(plan.files("validation"))))
                 | "write validation" >> beam.Map(_write_validation, arguments, os.fspath(folder),
                                                  os.fspath(work)))
    written: dict[str, list] = {}
    for split, _, size in sorted(beam_reading.results(os.fspath(work), "shard")):
        written.setdefault(split, []).append(size)
    shutil.rmtree(work)
    step_builder.finish(builder, folder, written)
    step_builder.put_in_place(directory)
    return step_builder.counts(directory)


@functools.lru_cache(maxsize=1)
def _plan(arguments: Arguments) -> step_records.Plan:
    """A worker's own view of the plan; codes are memory-mapped."""
    directory, data_dir, codebook_size, group_size, seed = arguments
    return step_records.Plan(pathlib.Path(data_dir), assign.load(directory, "item"),
                             assign.load(directory, "query"), codebook_size, group_size, seed)


def _ranked(path: str, arguments: Arguments) -> Iterator[tuple[int, tuple[int, bytes]]]:
    plan = _plan(arguments)
    for rank, record in plan.ranked(path):
        yield rank // plan.shard_records, (rank, record)


def _write(found: tuple[int, Iterable[tuple[int, bytes]]], arguments: Arguments, folder: str,
           work: str) -> None:
    shard, records = found
    _write_shard("train", shard, sorted(records), arguments, folder, work)


def _write_validation(found: tuple[int, str], arguments: Arguments, folder: str, work: str) -> None:
    shard, path = found
    _write_shard("validation", shard, enumerate(step_records.serialized(path)), arguments, folder,
                 work)


def _write_shard(split: str, shard: int, records: Iterable[tuple[int, bytes]], arguments: Arguments,
                 folder: str, work: str) -> None:
    plan = _plan(arguments)
    size = record_files.write_shard(pathlib.Path(folder) / f"{split}-{shard:05d}", (
        step_builder.encoded(record, plan.items.codes.shape[1], plan.codebook_size)
        for record in plan.with_codes(records)))
    beam_reading.write_result(f"{work}/shard-{split}-{shard:05d}.pickle", (split, shard, size))
