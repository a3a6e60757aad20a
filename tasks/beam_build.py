"""The build on Apache Beam: the same tables and records as on one machine.

Workers read, check and normalise the raw records, add up the events of each query and item, and
write the training records. The process that starts it holds the ids, one text per query and a few
numbers per item and per (query, item), never the logs or the item texts, and decides with the code
of ``tasks.sidecars`` what is held out. Workers and this process share the output directory.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.errors import UserError
from tasks import beam_reading, catalogue_builder, raw_records, record_files, sidecars
from tasks.beam_reading import Rejected
from tasks.dataset_settings import Settings
from tasks.events import NO_TIME, NO_USER, Events, user_hash
from tasks.raw_files import Rejects, Source
from tasks.splitting import seconds

SHARDS = 64
RANGE_RECORDS = 1 << 15  # items whose records one worker makes at a time


def build(sources: Mapping[str, Source], directory: pathlib.Path, settings: Settings,
          rejects: Rejects, made_from: Mapping[str, Any], runner: str, options: str
          ) -> dict[str, int]:
    """As ``sidecars.write_sidecars`` and then ``catalogue_builder.build_catalogue``."""
    if settings.deduplicate == "minhash":
        raise UserError("deduplicate is 'minhash', which compares items on one machine; expected "
                        "'none' or 'text' with --beam_runner: change it, or leave Beam out")
    work = directory / "beam"
    work.mkdir()
    known = _items(sources["items"], directory, work, settings, rejects, runner, options)

    def events(known: Mapping[str, int], queries: dict[str, int]) -> tuple[Events, dict[str, int]]:
        return _events(sources["interactions"], known, queries, work, settings, rejects, runner,
                       options)

    counts = sidecars.write_tables(sources, directory, settings, rejects, known, events)
    shutil.rmtree(work)
    _write_datasets(directory, settings.max_queries, made_from, runner, options)
    return counts


def _items(source: Source, directory: pathlib.Path, work: pathlib.Path, settings: Settings,
           rejects: Rejects, runner: str, options: str) -> dict[str, int]:
    """Writes ``item_texts.parquet``; returns item_index by item_id."""
    beam = beam_reading.beam_module()
    with beam_reading.pipeline(runner, options) as begin:
        _ = (beam_reading.read(begin, source, "items", raw_records.ITEM_FIELDS,
                               lambda record: raw_records.parse_item(record, {}))
             | "write items" >> beam.Map(_write_items, os.fspath(work), settings.lower))
    known: dict[str, int] = {}
    rejected: list[Rejected] = []
    with pq.ParquetWriter(directory / "item_texts.parquet", sidecars.ITEM_SCHEMA) as writer:
        for path, bad, places in beam_reading.results(os.fspath(work), "items"):
            rejected += bad
            table = pq.read_table(path)
            keep = np.ones(len(table), bool)
            for row, name in enumerate(table["item_id"].to_pylist()):
                if name in known:
                    keep[row] = False
                    rejected.append(_repeated(name, places[row]))
                else:
                    known[name] = len(known)
            table = table.filter(pa.array(keep))
            index = np.arange(len(known) - len(table), len(known))
            for start in range(0, len(table), sidecars.CHUNK_ROWS):
                rows = slice(start, start + sidecars.CHUNK_ROWS)
                writer.write_table(table.slice(start, sidecars.CHUNK_ROWS).set_column(
                    0, sidecars.ITEM_SCHEMA[0], pa.array(index[rows])))
            os.remove(path)
    beam_reading.report(rejected, source, rejects)
    beam_reading.check_good(len(known), source, "items", len(rejected))
    return known


def _write_items(found: tuple[beam_reading.Block, list], work: str, lower: bool) -> None:
    block, rows = found
    name = f"{block.place:05d}-{block.start:020d}"
    items = [item for _, item in rows if not isinstance(item, Rejected)]
    path = f"{work}/table-{name}.parquet"
    pq.write_table(sidecars.item_table(items, 0, lower), path)
    beam_reading.write_result(f"{work}/items-{name}.pickle", (
        path, [item for _, item in rows if isinstance(item, Rejected)],
        [place for place, item in rows if not isinstance(item, Rejected)]))


def _repeated(name: str, place: tuple[int, int]) -> Rejected:
    return Rejected(*place, ("duplicate item id", f"item_id {name!r} again", "each item once",
                             "Remove one of the two records."), json.dumps({"item_id": name}))


class _Anything(dict):
    """Stands for the known items while the items are elsewhere: each is its own number."""

    def get(self, name: str, default: object = None) -> str:
        del default
        return name


def _events(source: Source, known: Mapping[str, int], queries: dict[str, int], work: pathlib.Path,
            settings: Settings, rejects: Rejects, runner: str, options: str
            ) -> tuple[Events, dict[str, int]]:
    """Events added up by query, item and period, in the order in which they first appear.

    That is all that the hold-out, the weights and the numbers of queries depend on.
    """
    beam = beam_reading.beam_module()
    limit = settings.max_user_events
    test_from = seconds(settings.test_from, "test_from") if settings.test_from else None
    with beam_reading.pipeline(runner, options) as begin:
        blocks = beam_reading.read(begin, source, "interactions", raw_records.INTERACTION_FIELDS,
                                   lambda record: raw_records.parse_interaction(record,
                                                                                _Anything()))
        _ = blocks | "bad events" >> beam.Map(lambda found: beam_reading.write_result(
            f"{work}/read-{found[0].place:05d}-{found[0].start:020d}.pickle",
            ([each for _, each in found[1] if isinstance(each, Rejected)],
             sum(not isinstance(each, Rejected) for _, each in found[1]))))
        events = blocks | "events" >> beam.FlatMap(
            lambda found: (pair for pair in found[1] if not isinstance(pair[1], Rejected)))
        items = begin | "known items" >> beam.Create(list(known)) | "items as keys" >> beam.Map(lambda name: (name,
                                                                                          None))
        by_item = events | "items of events" >> beam.Map(lambda pair: (pair[1].item_index, pair))
        joined = ({"events": by_item, "items": items} | "join" >> beam.CoGroupByKey())
        _ = (joined | "unknown" >> beam.FlatMap(_unknown)
             | "unknown to list" >> beam.combiners.ToList()
             | "write unknown" >> beam.Map(lambda found: beam_reading.write_result(
                 f"{work}/unknown-0.pickle", found)))
        good = joined | "known" >> beam.FlatMap(lambda found: found[1]["events"]
                                                if found[1]["items"] else ())
        counted = good | "counted" >> beam.Filter(_counts_something, settings.weights)
        spam = None
        if limit:
            spam = (counted | "users" >> beam.FlatMap(_user)
                    | "events of users" >> beam.combiners.Count.PerElement()
                    | "spam users" >> beam.Filter(lambda found: found[1] > limit))
            _ = (spam | "spam to list" >> beam.combiners.ToList() | "write spam" >> beam.Map(
                lambda found: beam_reading.write_result(f"{work}/spam-0.pickle", found)))
        sides = [beam.pvalue.AsDict(spam)] if spam else []
        _ = (counted | "keys" >> beam.Map(_keyed, test_from, *sides)
             | "add up" >> beam.CombinePerKey(_added)
             | "by query" >> beam.Map(lambda found: (user_hash(found[0][0]) % SHARDS, found))
             | "query shards" >> beam.GroupByKey()
             | "write events" >> beam.Map(lambda found: beam_reading.write_result(
                 f"{work}/events-{found[0]:05d}.pickle", _columns(found[1]))))
    return _collected(source, known, queries, work, rejects, bool(limit))


def _counts_something(pair: tuple[Any, raw_records.Interaction], weights: tuple[float, ...]
                      ) -> bool:
    return any(count and weight for count, weight in zip(pair[1].counts, weights))


def _unknown(found: tuple[str, Mapping[str, Any]]) -> Iterator[Rejected]:
    name, sides = found
    if not sides["items"]:
        for place, event in sides["events"]:
            bad = raw_records.unknown_item(name, "item_id")
            yield Rejected(*place, (bad.reason, bad.got, bad.expected, bad.fix),
                           json.dumps({"query": event.query, "item_id": name}))


def _user(pair: tuple[Any, raw_records.Interaction]) -> Iterator[str]:
    if pair[1].user_id is not None:
        yield pair[1].user_id


def _keyed(pair: tuple[Any, raw_records.Interaction], test_from: int | None,
           spam: Mapping[str, int] | None = None) -> tuple[Any, Any]:
    """((query, item, period), (counts, earliest time, first place, events))."""
    place, event = pair
    time = NO_TIME if event.timestamp is None else event.timestamp
    period = -1 if time == NO_TIME else int(test_from is not None and time >= test_from)
    left_out = bool(spam) and event.user_id in spam
    counts = (0, 0, 0) if left_out else event.counts
    return (event.query, event.item_index, period), (counts, None if left_out else time, place,
                                                     0 if left_out else 1)


def _added(values: Iterable[tuple[Any, Any, Any, int]]) -> tuple[Any, Any, Any, int]:
    counts, first_time, first_place, number = (0, 0, 0), None, None, 0
    for each, time, place, count in values:
        counts = tuple(one + other for one, other in zip(counts, each))
        if time is not None:
            first_time = time if first_time is None else min(time, first_time)
        first_place = place if first_place is None else min(place, first_place)
        number += count
    return counts, first_time, first_place, number


def _columns(rows: Iterable[Any]) -> dict[str, Any]:
    """A shard of sums as arrays: small to read, quick to sort."""
    rows = list(rows)
    texts: dict[str, int] = {}
    items: dict[str, int] = {}
    return {"query": np.array([texts.setdefault(key[0], len(texts)) for key, _ in rows]),
            "item": np.array([items.setdefault(key[1], len(items)) for key, _ in rows]),
            "counts": np.array([value[0] for _, value in rows], np.int64).reshape(-1, 3),
            "time": np.array([NO_TIME if value[1] is None else value[1] for _, value in rows]),
            "place": np.array([value[2] for _, value in rows], np.int64).reshape(-1, 2),
            "number": np.array([value[3] for _, value in rows], np.int64),
            "queries": list(texts), "items": list(items)}


def _collected(source: Source, known: Mapping[str, int], queries: dict[str, int],
               work: pathlib.Path, rejects: Rejects, guarded: bool
               ) -> tuple[Events, dict[str, int]]:
    """Sums of all shards as events in the order of their first appearance."""
    reads = list(beam_reading.results(os.fspath(work), "read"))
    unknown, = beam_reading.results(os.fspath(work), "unknown")
    rejected = [each for bad, _ in reads for each in bad] + unknown
    beam_reading.report(rejected, source, rejects)
    good = sum(count for _, count in reads) - len(unknown)
    beam_reading.check_good(good, source, "interactions", len(rejected))
    parts, texts = [], []
    for shard in beam_reading.results(os.fspath(work), "events"):
        item = np.array([known[name] for name in shard["items"]], np.int64)[shard["item"]]
        parts.append((shard["query"] + len(texts), item, shard["counts"], shard["time"],
                      shard["place"], shard["number"]))
        texts += shard["queries"]
    if not parts:
        return _no_events(good), {}
    query, item, counts, time, place, number = (np.concatenate(part) for part in zip(*parts))
    order = np.lexsort((place[:, 1], place[:, 0]))
    _, first = np.unique(query[order], return_index=True)
    index = np.empty(len(texts), np.int64)
    for code in query[order][np.sort(first)].tolist():
        index[code] = queries.setdefault(texts[code], len(queries))
    order = order[number[order] > 0]
    dropped = {}
    if guarded:
        spam, = beam_reading.results(os.fspath(work), "spam")
        dropped = {"spam_users": len(spam), "spam_user_events": sum(count for _, count in spam)}
    events = Events(index[query[order]], item[order], counts[order], time[order],
                    np.full(len(order), NO_USER, np.uint64), good)
    return events, dropped


def _no_events(read: int) -> Events:
    empty = np.zeros(0, np.int64)
    return Events(empty, empty, np.zeros((0, 3), np.int64), empty, empty.astype(np.uint64), read)


def _write_datasets(directory: pathlib.Path, max_queries: int, made_from: Mapping[str, Any],
                    runner: str, options: str) -> None:
    """Writes the TFDS datasets: each shard is sorted and written by one worker."""
    beam = beam_reading.beam_module()

    def write(builder: catalogue_builder.GsidCatalogue, split: str, count: int, final: str
              ) -> list[tuple[int, int]]:
        config, name = builder.builder_config.name, builder.name
        shards, rows = record_files.num_shards(count), builder.source_rows(split)
        if rows <= RANGE_RECORDS:  # one worker's work
            return catalogue_builder.write_here(builder, split, count, final)
        work = pathlib.Path(final) / f"{split}.beam"
        work.mkdir()
        ranges = [(start, min(start + RANGE_RECORDS, rows))
                  for start in range(0, rows, RANGE_RECORDS)]
        with beam_reading.pipeline(runner, options) as begin:
            _ = (begin | beam.Create(ranges) | beam.Reshuffle()
                 | "records" >> beam.FlatMap(_encoded, config, split, os.fspath(directory),
                                             max_queries, shards)
                 | beam.GroupByKey()
                 | "write" >> beam.Map(_write_shard, final, name, split, shards, os.fspath(work)))
        written = dict(beam_reading.results(os.fspath(work), "shard"))
        shutil.rmtree(work)
        return [written.get(shard, (0, 0)) for shard in range(shards)]

    catalogue_builder.build_catalogue(directory, max_queries, made_from, write)


def _encoded(bounds: tuple[int, int], config: str, split: str, source_dir: str, max_queries: int,
             shards: int) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """(shard, (key, record)) of some rows of a table."""
    builder = catalogue_builder.GsidCatalogue(config=config, data_dir=source_dir,
                                              max_queries=max_queries)
    place = builder.placing(split, shards)
    for key, record in builder.records(split, *bounds):
        shard, key = place(key)
        yield shard, (key.to_bytes(16, "big"), record_files.encode(record))


def _write_shard(found: tuple[int, Iterable[tuple[bytes, bytes]]], final: str, name: str, split: str,
                 shards: int, work: str) -> None:
    shard, records = found
    path = record_files.shard_path(pathlib.Path(final), name, split, shard, shards)
    written = record_files.write_shard(path, (record for _, record in sorted(records)))
    beam_reading.write_result(f"{work}/shard-{shard:05d}.pickle", (shard, written))
