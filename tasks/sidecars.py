"""The Parquet tables of a dataset: what the TFDS builders and every later stage read.

``write_sidecars`` makes them from validated raw files. In memory are the item ids, the query texts
and the (query, item) pairs as arrays; item texts are streamed.
"""

import array
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.errors import UserError
from tasks import hold_out, raw_records
from tasks.dataset_settings import Settings
from tasks.raw_files import Rejects, read_records

KINDS = ("items", "interactions", "sequences", "q2i_test", "i2i_test", "truth")
REQUIRED = ("items", "interactions")
CHUNK_ROWS = 16384
INDEX, INDICES = pa.int64(), pa.list_(pa.int64())
ITEM_SCHEMA = pa.schema([
    ("item_index", INDEX), ("item_id", pa.string()), ("text", pa.string()), ("title", pa.string()),
    ("category", pa.list_(pa.string())), ("attributes", pa.string())])
ITEM_FLAGS = (("seen", pa.bool_()), ("conversions", pa.int64()), ("validation", pa.bool_()))


@dataclasses.dataclass
class _Pairs:
    """Training pairs, each (query, item) once."""

    query: np.ndarray  # int64 [P]
    item: np.ndarray  # int64 [P]
    weight: np.ndarray  # float64 [P]
    conversions: np.ndarray  # int64 [P], contacts and purchases

    def where(self, mask: np.ndarray) -> "_Pairs":
        return _Pairs(self.query[mask], self.item[mask], self.weight[mask], self.conversions[mask])


def write_sidecars(sources: Mapping[str, pathlib.Path], directory: pathlib.Path,
                   settings: Settings, rejects: Rejects) -> dict[str, int]:
    """Reads all raw files and writes the tables. Returns counts.

    Args:
      sources: path by kind (``KINDS``); ``REQUIRED`` ones must be there.
      directory: an existing directory that receives the tables.
      settings: weights, shares and seed.
      rejects: receives bad records.

    Raises UserError for bad records, empty files, and data too small to hold anything out.
    """
    known = _write_item_texts(sources["items"], directory, rejects)
    queries: dict[str, int] = {}
    pairs, interactions = _read_pairs(sources["interactions"], known, queries, settings, rejects)
    if "q2i_test" in sources:
        triggers = _read_triggers(sources["q2i_test"], known, queries, rejects)
    else:
        pairs, triggers = _hold_out(pairs, list(known), list(queries), settings)
    if not len(pairs.query):
        raise UserError(f"interactions file {sources['interactions']} leaves 0 pairs for training; "
                        "expected at least one after weighting and holding out: add interactions, "
                        "or pass --holdout_items=0 --holdout_queries=0 and a --q2i_test file")
    seen = np.zeros(len(known), bool)
    seen[pairs.item] = True
    validation = np.zeros(len(known), bool)
    seen_ids = [name for name, index in known.items() if seen[index]]
    validation[seen] = hold_out.choose(seen_ids, settings.validation_fraction, settings.seed,
                                       "validation")
    conversions = np.zeros(len(known), np.int64)
    np.add.at(conversions, pairs.item, pairs.conversions)
    _finish_items(directory, seen, conversions, validation)
    weight = np.bincount(pairs.query, pairs.weight, len(queries))
    _write(directory / "queries.parquet", {
        "query_index": pa.array(np.arange(len(queries))), "query": pa.array(queries, pa.string()),
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
        "items": len(known), "items_seen": int(seen.sum()),
        "train_records": int((seen & ~validation).sum()),
        "validation_records": int(validation.sum()), "interactions": interactions,
        "train_pairs": len(pairs.query), "queries": len(queries),
        "train_queries": int((weight > 0).sum()), "q2i_test": len(triggers)}
    return counts | _write_optional(sources, directory, known, seen, rejects)


def _write(path: pathlib.Path, columns: Mapping[str, pa.Array]) -> None:
    pq.write_table(pa.table(dict(columns)), path)


def _write_item_texts(source: pathlib.Path, directory: pathlib.Path, rejects: Rejects
                      ) -> dict[str, int]:
    """Writes the items without their flags; returns item_index by item_id, in order."""
    known: dict[str, int] = {}
    rows: list[raw_records.Item] = []

    def flush(writer: pq.ParquetWriter) -> None:
        columns = [
            range(len(known) - len(rows), len(known)), [row.item_id for row in rows],
            [row.text for row in rows], [row.title for row in rows], [row.category for row in rows],
            [None if row.attributes is None else
             json.dumps(row.attributes, ensure_ascii=False, sort_keys=True) for row in rows]]
        writer.write_table(pa.table([pa.array(column, field.type)
                                     for column, field in zip(columns, ITEM_SCHEMA)], ITEM_SCHEMA))
        rows.clear()

    with pq.ParquetWriter(directory / "item_texts.parquet", ITEM_SCHEMA) as writer:
        for item in read_records(source, "items", raw_records.ITEM_FIELDS,
                                 lambda record: raw_records.parse_item(record, known), rejects):
            known[item.item_id] = len(known)
            rows.append(item)
            if len(rows) == CHUNK_ROWS:
                flush(writer)
        if rows:
            flush(writer)
    return known


def _finish_items(directory: pathlib.Path, *flags: np.ndarray) -> None:
    """Adds the columns known after the interactions were read, and gives the file its name."""
    schema = ITEM_SCHEMA
    for name, kind in ITEM_FLAGS:
        schema = schema.append(pa.field(name, kind))
    texts = directory / "item_texts.parquet"
    with pq.ParquetWriter(directory / "items.parquet", schema) as writer:
        start = 0
        for batch in pq.ParquetFile(texts).iter_batches(CHUNK_ROWS):
            rows = slice(start, start + len(batch))
            columns = [*batch.columns, *(pa.array(values[rows]) for values in flags)]
            writer.write_table(pa.table(columns, schema=schema))
            start = rows.stop
    os.remove(texts)


def _read_pairs(source: pathlib.Path, known: Mapping[str, int], queries: dict[str, int],
                settings: Settings, rejects: Rejects) -> tuple[_Pairs, int]:
    """Reads and sums interactions; fills ``queries`` with query_index by text.

    Returns the pairs sorted by item, then weight (heaviest first), then query; and the number of
    interactions read. Interactions of weight 0 (their action counts nothing) are left out.
    """
    query, item, counts = array.array("q"), array.array("q"), array.array("q")
    weights, total = settings.weights, 0
    for found in read_records(
            source, "interactions", raw_records.INTERACTION_FIELDS,
            lambda record: raw_records.parse_interaction(record, known), rejects):
        total += 1
        if any(count and weight for count, weight in zip(found.counts, weights)):
            query.append(queries.setdefault(found.query, len(queries)))
            item.append(found.item_index)
            counts.extend(found.counts)
    counts_Px3 = np.array(counts, np.int64).reshape(-1, 3)
    joint, inverse = np.unique(np.array(item, np.int64) * max(len(queries), 1)
                               + np.array(query, np.int64), return_inverse=True)
    weight = np.bincount(inverse, counts_Px3 @ np.array(weights), len(joint))
    conversions = np.zeros(len(joint), np.int64)
    np.add.at(conversions, inverse, counts_Px3[:, 1:].sum(axis=1))
    pair_item, pair_query = np.divmod(joint, max(len(queries), 1))
    order = np.lexsort((pair_query, -weight, pair_item))
    return _Pairs(pair_query, pair_item, weight, conversions).where(order), total


def _read_triggers(source: pathlib.Path, known: Mapping[str, int], queries: dict[str, int],
                   rejects: Rejects) -> dict[int, list[int]]:
    """Held-out queries: item indices by query_index; a repeated query adds its items."""
    return _merge(
        (queries.setdefault(query, len(queries)), items) for query, items in read_records(
            source, "q2i_test", raw_records.Q2I_FIELDS,
            lambda record: raw_records.parse_q2i(record, known), rejects))


def _merge(triggers: Iterable[tuple[int, Sequence[int]]]) -> dict[int, list[int]]:
    merged: dict[int, dict[int, None]] = {}
    for trigger, items in triggers:
        merged.setdefault(trigger, {}).update(dict.fromkeys(items))
    return {trigger: list(items) for trigger, items in merged.items()}


def _hold_out(pairs: _Pairs, item_ids: Sequence[str], queries: Sequence[str], settings: Settings
              ) -> tuple[_Pairs, dict[int, list[int]]]:
    """Parts the pairs of some items and of some queries from training: (training, triggers)."""
    unseen_item, unseen_query = np.zeros(len(item_ids), bool), np.zeros(len(queries), bool)
    active = np.unique(pairs.item)
    unseen_item[active] = hold_out.choose([item_ids[index] for index in active],
                                          settings.holdout_items, settings.seed, "items")
    unseen_query[:] = hold_out.choose(queries, settings.holdout_queries, settings.seed, "queries")
    held_out = unseen_item[pairs.item] | unseen_query[pairs.query]
    if not held_out.any() or held_out.all():
        raise UserError(
            f"{len(pairs.query):,} pairs of {len(active):,} items and {len(queries):,} queries "
            f"cannot be parted: got {int(held_out.sum()):,} held out (holdout_items="
            f"{settings.holdout_items}, holdout_queries={settings.holdout_queries}), expected some "
            "for testing and some for training: supply --q2i_test, more interactions, or other "
            "shares")
    test = pairs.where(held_out)
    triggers = _merge((query, [item]) for query, item in zip(test.query.tolist(),
                                                             test.item.tolist()))
    return pairs.where(~held_out), dict(sorted(triggers.items()))


def _write_optional(sources: Mapping[str, pathlib.Path], directory: pathlib.Path,
                    known: Mapping[str, int], seen: np.ndarray, rejects: Rejects) -> dict[str, int]:
    """Writes the tables of the files that a user need not give."""
    counts = {}
    if "i2i_test" in sources:
        triggers = _merge(read_records(
            sources["i2i_test"], "i2i_test", raw_records.I2I_FIELDS,
            lambda record: raw_records.parse_i2i(record, known), rejects))
        counts["i2i_test"] = len(triggers)
        _write(directory / "i2i_test.parquet", {
            "item_index": pa.array(list(triggers), INDEX),
            "item_indices": pa.array(list(triggers.values()), INDICES),
            "unseen_item": pa.array([not seen[item] for item in triggers], pa.bool_())})
    if "sequences" in sources:
        users, items = zip(*read_records(
            sources["sequences"], "sequences", raw_records.SEQUENCE_FIELDS,
            lambda record: raw_records.parse_sequence(record, known), rejects))
        counts["sequences"] = len(users)
        _write(directory / "sequences.parquet", {"user_id": pa.array(users, pa.string()),
                                                 "item_indices": pa.array(items, INDICES)})
    if "truth" in sources:
        index, category, spu = zip(*read_records(
            sources["truth"], "truth", raw_records.TRUTH_FIELDS, raw_records.truth_parser(known),
            rejects))
        counts["truth"] = len(index)
        _write(directory / "truth.parquet", {
            "item_index": pa.array(index, INDEX), "category": pa.array(category,
                                                                       pa.list_(pa.string())),
            "spu": pa.array(spu, pa.string())})
    return counts
