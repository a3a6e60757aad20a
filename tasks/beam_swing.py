"""Swing on Apache Beam: the scores of ``tasks.swing``, computed key by key."""

import heapq
import itertools
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from gsid_jax.errors import UserError
from tasks import beam_reading, raw_records, swing, view_files
from tasks.beam_reading import Rejected
from tasks.raw_files import Rejects, Source

SHARDS = 64
View = tuple[str, tuple[str, int]]  # user, (item, time)


def swing_rows(source: Source, settings: swing.SwingSettings, rejects: Rejects, runner: str,
               options: str) -> list[tuple[str, list[str], list[float]]]:
    """As ``tools.swing_i2i.swing_rows``. Workers and this process share the temporary directory."""
    beam = beam_reading.beam_module()
    kind = source.kind
    fields = (raw_records.SEQUENCE_FIELDS if kind == "sequences"
              else raw_records.INTERACTION_FIELDS)
    directory = tempfile.mkdtemp(prefix="swing-")
    try:
        with beam_reading.pipeline(runner, options) as begin:
            blocks = beam_reading.read(begin, source, kind, fields, lambda record: _parse(
                record, kind))
            _ = blocks | "bad records" >> beam.Map(lambda found: beam_reading.write_result(
                f"{directory}/read-{found[0].place:05d}-{found[0].start:020d}.pickle",
                _read_report(found[1])))
            users = (blocks | "views" >> beam.FlatMap(lambda found: _views(found[1], settings))
                     | "by user" >> beam.GroupByKey()
                     | "latest" >> beam.FlatMap(_latest, settings.max_user_items)
                     | "by item" >> beam.GroupByKey()
                     | "some users" >> beam.FlatMap(_some_users, settings.max_item_users)
                     | "by user again" >> beam.GroupByKey()
                     | "items" >> beam.Map(lambda found: (found[0], tuple(sorted(found[1]))))
                     | "more than one" >> beam.Filter(lambda found: len(found[1]) > 1))
            _ = (users | "to items" >> beam.FlatMap(
                     lambda found: ((item, found) for item in found[1]))
                 | "users of items" >> beam.GroupByKey()
                 | "terms" >> beam.FlatMap(_terms, settings)
                 | "sum" >> beam.CombinePerKey(sum)
                 | "both ways" >> beam.FlatMap(lambda found: (
                     (found[0][0], (found[1], found[0][1])), (found[0][1], (found[1], found[0][0]))))
                 | "similar" >> beam.GroupByKey()
                 | "best" >> beam.Map(_best, settings.top)
                 | "to shards" >> beam.Map(lambda row: (zlib.crc32(row[0].encode()) % SHARDS, row))
                 | "shards" >> beam.GroupByKey()
                 | "write" >> beam.Map(lambda found: beam_reading.write_result(
                     f"{directory}/rows-{found[0]:05d}.pickle", list(found[1]))))
        reads = list(beam_reading.results(directory, "read"))
        rejected = [each for _, _, found in reads for each in found]
        beam_reading.report(rejected, source, rejects)
        beam_reading.check_good(sum(good for good, _, _ in reads), source, kind, len(rejected))
        untimed = sum(without for _, without, _ in reads)
        if untimed and (settings.since or settings.until):
            raise UserError(f"--since or --until is given, but {untimed:,} records of {source} have "
                            "no time; expected 'timestamps' in sequences or 'timestamp' in events: "
                            "add them, or leave the window out")
        return sorted(itertools.chain.from_iterable(beam_reading.results(directory, "rows")))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Names(dict):
    """Stands for a numbering of items: every item is its own number."""

    def get(self, name: str, default: object = None) -> str:
        del default
        return name


def _parse(record: dict[str, Any], kind: str) -> tuple[str, list[str], list[int] | None]:
    if kind == "sequences":
        return raw_records.parse_timed_sequence(record, _Names())
    return view_files.parse_event(record, _Names())


def _read_report(rows: list[tuple[Any, Any]]) -> tuple[int, int, list[Rejected]]:
    """(good records, those without times, bad records)."""
    rejected = [found for _, found in rows if isinstance(found, Rejected)]
    good = [found for _, found in rows if not isinstance(found, Rejected)]
    return len(good), sum(times is None for _, _, times in good), rejected


def _views(rows: list[tuple[Any, Any]], settings: swing.SwingSettings) -> Iterator[View]:
    for _, found in rows:
        if isinstance(found, Rejected):
            continue
        user, items, times = found
        for place, item in enumerate(items):
            if times is None:
                if not (settings.since or settings.until):
                    yield user, (item, place)
            elif settings.in_window(times[place]):
                yield user, (item, times[place])


def _latest(found: tuple[str, Iterable[tuple[str, int]]], most: int) -> Iterator[tuple[str, str]]:
    """(item, user) of the latest items of a user."""
    user, views = found
    latest: dict[str, int] = {}
    for item, time in views:
        latest[item] = max(time, latest.get(item, time))
    for item, _ in sorted(latest.items(), key=lambda view: (-view[1], view[0]))[:most]:
        yield item, user


def _some_users(found: tuple[str, Iterable[str]], most: int) -> Iterator[tuple[str, str]]:
    """(user, item) of some users of an item, chosen by hash where there are too many."""
    item, users = found[0], list(found[1])
    if len(users) > most:
        users = heapq.nsmallest(most, users, key=lambda user: swing.hash_rank(user, item))
    for user in users:
        yield user, item


def _terms(found: tuple[str, Iterable[tuple[str, tuple[str, ...]]]], settings: swing.SwingSettings
           ) -> Iterator[tuple[tuple[str, str], int]]:
    """((i, j), term) of the pairs of users whose first shared item this is."""
    item, users = found[0], sorted(found[1])
    sets = [frozenset(items) for _, items in users]
    weights = swing.user_weights(max(map(len, sets)), settings.power)
    for u, v in itertools.combinations(range(len(users)), 2):
        shared = sorted(sets[u] & sets[v])
        if len(shared) > 1 and shared[0] == item:
            value = swing.term(float(weights[len(sets[u])]), float(weights[len(sets[v])]),
                               len(shared), settings.alpha)
            for pair in itertools.combinations(shared, 2):
                yield pair, value


def _best(found: tuple[str, Iterable[tuple[int, str]]], top: int
          ) -> tuple[str, list[str], list[float]]:
    best = heapq.nsmallest(top, found[1], key=lambda pair: (-pair[0], pair[1]))
    return found[0], [item for _, item in best], [score / swing.ONE for score, _ in best]
