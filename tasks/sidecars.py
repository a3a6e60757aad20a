"""The Parquet tables of a dataset: what the TFDS builders and every later stage read.

``write_sidecars`` makes them from validated raw files. In memory are the item ids, the query texts
and the (query, item) pairs as arrays; item texts are streamed.
"""

import array
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsid_jax.errors import UserError
from tasks import duplicates, events as event_files, hold_out, pairs as pair_sums
from tasks import raw_records, similar_items, splitting
from tasks.dataset_settings import Settings
from tasks.events import Events
from tasks.pairs import Pairs
from tasks.raw_files import Rejects, Source, read_records

KINDS = ("items", "interactions", "sequences", "q2i_test", "i2i_test", "truth", "item_pairs")
REQUIRED = ("items", "interactions")
CHUNK_ROWS = 16384
INDEX, INDICES = pa.int64(), pa.list_(pa.int64())
ITEM_SCHEMA = pa.schema([
    ("item_index", INDEX), ("item_id", pa.string()), ("text", pa.string()), ("title", pa.string()),
    ("category", pa.list_(pa.string())), ("attributes", pa.string()), ("spu", pa.string()),
    ("timestamp", pa.int64()), ("conversions", pa.int64())])
ITEM_FLAGS = (("seen", pa.bool_()), ("validation", pa.bool_()))
File = pathlib.Path | Source


def write_sidecars(sources: Mapping[str, File], directory: pathlib.Path, settings: Settings,
                   rejects: Rejects) -> dict[str, int]:
    """Reads all raw files and writes the tables. Returns counts.

    Args:
      sources: file, or files, by kind (``KINDS``); ``REQUIRED`` ones must be there.
      directory: an existing directory that receives the tables.
      settings: weights, shares and seed.
      rejects: receives bad records.

    Raises UserError for bad records, empty files, and data too small to hold anything out.
    """
    known = _write_item_texts(sources["items"], directory, settings, rejects)

    def events(known: Mapping[str, int], queries: dict[str, int]) -> tuple[Events, dict[str, int]]:
        return event_files.read_events(sources["interactions"], known, queries, settings.weights,
                                       rejects, settings.lower), {}

    return write_tables(sources, directory, settings, rejects, known, events)


def write_tables(sources: Mapping[str, File], directory: pathlib.Path, settings: Settings,
                 rejects: Rejects, known: dict[str, int],
                 read_events: Callable[[Mapping[str, int], dict[str, int]],
                                       tuple[Events, dict[str, int]]]) -> dict[str, int]:
    """Writes the tables once ``item_texts.parquet`` is there. Returns counts.

    Args:
      sources, directory, settings, rejects: see ``write_sidecars``.
      known: item_index by item_id, in order.
      read_events: gives the interactions, and what was left out of them, and numbers the queries.
    """
    item_ids, merged = list(known), {}
    if settings.deduplicate != "none":
        item_ids, merged = _merge_duplicates(directory, known, settings)
    queries: dict[str, int] = {}
    events, guarded = read_events(known, queries)
    parted, dropped, kept = _part(events, sources, known, item_ids, queries, settings, rejects)
    dropped |= guarded
    if "item_pairs" in sources:
        parted.training, dropped["item_pairs"] = similar_items.add_titles(
            parted, sources, directory, known, queries, settings, rejects)
    pairs = parted.training
    if not len(pairs.query):
        raise UserError(f"interactions file {sources['interactions']} leaves 0 pairs for training; "
                        "expected at least one after weighting and holding out: add interactions, "
                        "or pass --holdout_items=0 --holdout_queries=0 and a --q2i_test file")
    triggers, texts = _renumber(pairs, parted.triggers, list(queries))
    seen = np.zeros(len(item_ids), bool)
    seen[pairs.item] = True
    first_times = pair_sums.first_times(kept, len(item_ids)) if settings.validation_from else None
    validation = splitting.validation_items(seen, item_ids, first_times, settings)
    conversions = np.zeros(len(item_ids), np.int64)
    np.add.at(conversions, pairs.item, pairs.conversions)
    _finish_items(directory, conversions, seen, validation)
    weight = np.bincount(pairs.query, pairs.weight, len(texts))
    _write(directory / "queries.parquet", {
        "query_index": pa.array(np.arange(len(texts))), "query": pa.array(texts, pa.string()),
        "weight": pa.array(weight.astype(np.float32)),
        "split": pa.array(np.where(weight > 0, "train", "test"))})
    _write(directory / "train_pairs.parquet", {
        "query_index": pa.array(pairs.query), "item_index": pa.array(pairs.item),
        "weight": pa.array(pairs.weight.astype(np.float32))})
    frequency = hold_out.frequency_class(weight)
    _write(directory / "q2i_test.parquet", {
        "query_index": pa.array(list(triggers), INDEX),
        "item_indices": pa.array(list(triggers.values()), INDICES),
        "unseen_query": pa.array([not weight[query] for query in triggers], pa.bool_()),
        "head": pa.array([str(frequency[query]) for query in triggers], pa.string())})
    counts = {
        "items": len(item_ids), "items_seen": int(seen.sum()),
        "train_records": int((seen & ~validation).sum()),
        "validation_records": int(validation.sum()), "interactions": events.read,
        "train_pairs": len(pairs.query), "queries": len(texts),
        "train_queries": int((weight > 0).sum()), "q2i_test": len(triggers)}
    counts |= {f"dropped_{name}": number for name, number in dropped.items()} | merged
    return counts | _write_optional(sources, directory, known, seen, rejects)


def _part(events: Events, sources: Mapping[str, File], known: Mapping[str, int],
          item_ids: Sequence[str], queries: dict[str, int], settings: Settings, rejects: Rejects
          ) -> tuple[splitting.Parted, dict[str, int], Events]:
    """Guards, sums and parts the events: (parted, what was dropped, events of training)."""
    events, dropped = pair_sums.guard(events, settings, len(queries))
    given, test = "q2i_test" in sources, None
    if not given and settings.split == "time":
        test = splitting.by_time(events, settings)
        events, later = events.where(~test), events.where(test)
    pairs = pair_sums.sum_events(events, settings.weights, len(queries))
    pairs, light = pair_sums.cut_off(pairs, settings, len(queries), len(item_ids))
    if given:
        parted = splitting.Parted(pairs, _read_triggers(sources["q2i_test"], known, queries,
                                                        settings, rejects))
    elif test is not None:
        parted = splitting.held_out_pairs(pairs, pair_sums.sum_events(
            later, settings.weights, len(queries)), len(queries))
    else:
        parted = splitting.by_hash(pairs, item_ids, list(queries), settings)
    return parted, dropped | light, events


def _renumber(pairs: Pairs, triggers: Mapping[int, list[int]], texts: list[str]
              ) -> tuple[dict[int, list[int]], list[str]]:
    """Leaves out queries that nothing mentions any more; (triggers, texts), pairs are changed."""
    used = np.zeros(len(texts), bool)
    used[pairs.query] = True
    used[list(triggers)] = True
    number = np.cumsum(used) - 1
    pairs.query = number[pairs.query]
    return ({int(number[query]): items for query, items in triggers.items()},
            [text for text, kept in zip(texts, used.tolist()) if kept])


def _write(path: pathlib.Path, columns: Mapping[str, pa.Array]) -> None:
    pq.write_table(pa.table(dict(columns)), path)


def item_table(rows: Sequence[raw_records.Item], start: int, lower: bool) -> pa.Table:
    """Items as rows of ``ITEM_SCHEMA``, numbered from ``start``."""
    columns = [
        range(start, start + len(rows)), [row.item_id for row in rows],
        [row.text.lower() if lower else row.text for row in rows], [row.title for row in rows],
        [row.category for row in rows],
        [None if row.attributes is None else
         json.dumps(row.attributes, ensure_ascii=False, sort_keys=True) for row in rows],
        [row.spu for row in rows], [row.timestamp for row in rows],
        [row.conversions for row in rows]]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, ITEM_SCHEMA)],
                    ITEM_SCHEMA)


def _write_item_texts(source: File, directory: pathlib.Path, settings: Settings, rejects: Rejects
                      ) -> dict[str, int]:
    """Writes the items without their flags; returns item_index by item_id, in order."""
    known: dict[str, int] = {}
    rows: list[raw_records.Item] = []
    with pq.ParquetWriter(directory / "item_texts.parquet", ITEM_SCHEMA) as writer:
        for item in read_records(source, "items", raw_records.ITEM_FIELDS,
                                 lambda record: raw_records.parse_item(record, known), rejects):
            known[item.item_id] = len(known)
            rows.append(item)
            if len(rows) == CHUNK_ROWS:
                writer.write_table(item_table(rows, len(known) - len(rows), settings.lower))
                rows.clear()
        if rows:
            writer.write_table(item_table(rows, len(known) - len(rows), settings.lower))
    return known


def _merge_duplicates(directory: pathlib.Path, known: dict[str, int], settings: Settings
                      ) -> tuple[list[str], dict[str, int]]:
    """Takes duplicates out of the items; ``known`` then gives the index of the item they are like.

    Writes ``duplicates.parquet``; returns (ids of the items kept, count).
    """
    path = directory / "item_texts.parquet"
    texts = pq.read_table(path, columns=["text"])["text"].to_pylist()
    origin = (duplicates.equal_texts(texts) if settings.deduplicate == "text"
              else duplicates.similar_texts(texts, settings.similarity))
    keep = origin == np.arange(len(origin))
    ids, index = list(known), np.cumsum(keep) - 1
    for name, place in list(known.items()):
        known[name] = int(index[origin[place]])
    _write(directory / "duplicates.parquet", {
        "item_id": pa.array([ids[place] for place in np.flatnonzero(~keep)], pa.string()),
        "same_as": pa.array([ids[origin[place]] for place in np.flatnonzero(~keep)], pa.string())})
    whole, start = path.rename(directory / "all_texts.parquet"), 0
    with pq.ParquetWriter(path, ITEM_SCHEMA) as writer:
        for batch in pq.ParquetFile(whole).iter_batches(CHUNK_ROWS):
            rows = slice(start, start + len(batch))
            table = pa.Table.from_batches([batch]).filter(pa.array(keep[rows]))
            writer.write_table(table.set_column(0, ITEM_SCHEMA[0], pa.array(
                index[rows][keep[rows]])).cast(ITEM_SCHEMA))
            start = rows.stop
    whole.unlink()
    return [name for name, kept in zip(ids, keep.tolist()) if kept], {
        "duplicates": int((~keep).sum())}


def _finish_items(directory: pathlib.Path, conversions: np.ndarray, *flags: np.ndarray) -> None:
    """Adds the columns known after the interactions were read, and gives the file its name.

    ``conversions`` counts where the items file gives none.
    """
    schema = ITEM_SCHEMA
    for name, kind in ITEM_FLAGS:
        schema = schema.append(pa.field(name, kind))
    texts = directory / "item_texts.parquet"
    with pq.ParquetWriter(directory / "items.parquet", schema) as writer:
        start = 0
        for batch in pq.ParquetFile(texts).iter_batches(CHUNK_ROWS):
            rows = slice(start, start + len(batch))
            given = pc.coalesce(batch["conversions"], pa.array(conversions[rows]))
            columns = [*batch.columns[:-1], given, *(pa.array(values[rows]) for values in flags)]
            writer.write_table(pa.table(columns, schema=schema))
            start = rows.stop
    os.remove(texts)


def _read_triggers(source: File, known: Mapping[str, int], queries: dict[str, int],
                   settings: Settings, rejects: Rejects) -> dict[int, list[int]]:
    """Held-out queries: item indices by query_index; a repeated query adds its items."""
    found = read_records(source, "q2i_test", raw_records.Q2I_FIELDS,
                         lambda record: raw_records.parse_q2i(record, known), rejects)
    return splitting.merge(
        (queries.setdefault(query.lower() if settings.lower else query, len(queries)), items)
        for query, items in found)


def _write_optional(sources: Mapping[str, File], directory: pathlib.Path,
                    known: Mapping[str, int], seen: np.ndarray, rejects: Rejects) -> dict[str, int]:
    """Writes the tables of the files that a user need not give."""
    counts = {}
    if "i2i_test" in sources:
        triggers = splitting.merge(read_records(
            sources["i2i_test"], "i2i_test", raw_records.I2I_FIELDS,
            lambda record: raw_records.parse_i2i(record, known), rejects))
        counts["i2i_test"] = len(triggers)
        _write(directory / "i2i_test.parquet", {
            "item_index": pa.array(list(triggers), INDEX),
            "item_indices": pa.array(list(triggers.values()), INDICES),
            "unseen_item": pa.array([not seen[item] for item in triggers], pa.bool_())})
    if "sequences" in sources:
        counts["sequences"] = _write_sequences(sources["sequences"], directory, known, rejects)
    if "truth" in sources:
        rows = {index: (category, spu) for index, category, spu in reversed(list(read_records(
            sources["truth"], "truth", raw_records.TRUTH_FIELDS, raw_records.truth_parser(known),
            rejects)))}
        index = list(reversed(rows))
        counts["truth"] = len(index)
        _write(directory / "truth.parquet", {
            "item_index": pa.array(index, INDEX),
            "category": pa.array([rows[each][0] for each in index], pa.list_(pa.string())),
            "spu": pa.array([rows[each][1] for each in index], pa.string())})
    return counts


def _write_sequences(source: File, directory: pathlib.Path, known: Mapping[str, int],
                     rejects: Rejects) -> int:
    users, lengths, items = [], array.array("q"), array.array("q")
    for user, viewed in read_records(
            source, "sequences", raw_records.SEQUENCE_FIELDS,
            lambda record: raw_records.parse_sequence(record, known), rejects):
        users.append(user)
        lengths.append(len(viewed))
        items.extend(viewed)
    offsets = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))]).astype(np.int32)
    _write(directory / "sequences.parquet", {
        "user_id": pa.array(users, pa.string()),
        "item_indices": pa.ListArray.from_arrays(pa.array(offsets),
                                                 pa.array(np.array(items, np.int64)))})
    return len(users)
