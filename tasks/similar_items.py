"""Item-item pairs in training: the titles of an item's similar items become queries of it.

The training records stay query-item pairs, so every task, loss and evaluation works as before; a
buyer of one thing looking for another is close to what a title as a query says. The pairs come from
``tools/swing_i2i`` or any file of the same form.
"""

import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow.parquet as pq

from tasks import raw_records
from tasks.dataset_settings import Settings
from tasks.pairs import Pairs, ordered
from tasks.raw_files import Rejects, Source, read_records
from tasks.splitting import Parted


def add_titles(parted: Parted, sources: Mapping[str, pathlib.Path | Source],
               directory: pathlib.Path, known: Mapping[str, int], queries: dict[str, int],
               settings: Settings, rejects: Rejects) -> tuple[Pairs, int]:
    """Adds a pair (title of j, i) for each item j similar to i; (pairs, item pairs left out).

    Its weight is ``pair_weight`` times its score over the best score of i. Left out are item pairs
    of the i2i test (either way), items that the split holds out, and titles that are held-out
    queries.
    """
    test = set()
    if "i2i_test" in sources:
        for item, others in read_records(
                sources["i2i_test"], "i2i_test", raw_records.I2I_FIELDS,
                lambda record: raw_records.parse_i2i(record, known), rejects.silent()):
            test.update((item, other) for other in others)
            test.update((other, item) for other in others)
    trained = set(parted.training.item.tolist())
    held_items = {item for items in parted.triggers.values() for item in items} - trained
    trained_queries = set(parted.training.query.tolist())
    held_queries = set(parted.triggers) - trained_queries
    titles = pq.read_table(directory / "item_texts.parquet", columns=["title"])["title"].to_pylist()
    query, item, weight, left_out = [], [], [], 0
    for index, similar, scores in read_records(
            sources["item_pairs"], "item_pairs", raw_records.PAIR_FIELDS,
            lambda record: raw_records.parse_pairs(record, known), rejects):
        best = max(scores) or 1.0
        for other, score in zip(similar, scores):
            title = titles[other].lower() if settings.lower else titles[other]
            if (index, other) in test or index in held_items or other == index or not score or (
                    queries.get(title) in held_queries):
                left_out += 1
                continue
            query.append(queries.setdefault(title, len(queries)))
            item.append(index)
            weight.append(settings.pair_weight * score / best)
    return _joined(parted.training, np.array(query, np.int64), np.array(item, np.int64),
                   np.array(weight, np.float64), len(queries)), left_out


def _joined(pairs: Pairs, query: np.ndarray, item: np.ndarray, weight: np.ndarray,
            num_queries: int) -> Pairs:
    """The pairs of both, each once, with the sum of their weights."""
    added = Pairs(query, item, weight, np.zeros(len(query), np.int64))
    keys = np.concatenate([pairs.keys(num_queries), added.keys(num_queries)])
    joint, inverse = np.unique(keys, return_inverse=True)
    conversions = np.zeros(len(joint), np.int64)
    np.add.at(conversions, inverse[:len(pairs.query)], pairs.conversions)
    found_item, found_query = np.divmod(joint, max(num_queries, 1))
    return ordered(Pairs(found_query, found_item, np.bincount(
        inverse, np.concatenate([pairs.weight, weight]), len(joint)), conversions))
