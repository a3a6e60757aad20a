"""What a dataset says: items, queries, held-out triggers and the truth to judge clusters by."""

import dataclasses
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gsid_jax.errors import UserError
from gsid_jax.evaluate import columns
from gsid_jax.evaluate.clustering import UNKNOWN
from gsid_jax.evaluate.lists import Lists

BUILDER = "the dataset builder"


@dataclasses.dataclass(frozen=True)
class Triggers:
    """Held-out searches, one row each: a query (q2i) or an item (i2i) and its relevant items."""

    index: np.ndarray  # int64 [R], query_index or item_index
    relevant: Lists  # without the pairs seen in training
    excluded: Lists  # items that the trigger must not be given
    unseen: np.ndarray  # bool [R], the trigger was not in training
    frequency: np.ndarray | None  # str [R], 'head' | 'torso' | 'tail'
    pairs_in_training: int  # relevant pairs left out because training had them

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Every held-out pair as (trigger index, item index); int64 [P] each."""
        return self.index[self.relevant.rows], self.relevant.values


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """One dataset, read from the sidecars next to its TFDS files; row = item or query index."""

    item_id: pa.ChunkedArray
    text: pa.ChunkedArray  # what the models read
    title: pa.ChunkedArray
    seen: np.ndarray  # bool [N], the item has training queries
    tie_rank: np.ndarray  # int64 [N], place of the item when sorted by item_id
    category: np.ndarray  # int64 [N, L], label of the first j + 1 levels; -1 unknown
    category_names: list[list[str]]  # last name of each label, per level
    category_is_truth: bool
    cpv: np.ndarray  # int64 [N], the seller's category and key attributes; -1 not filled in
    spu: np.ndarray | None  # int64 [N], true product; -1 unknown
    query: pa.ChunkedArray
    train_pairs: np.ndarray  # int64 [P, 2], query_index and item_index
    train_weights: np.ndarray  # float32 [P]
    q2i: Triggers
    i2i: Triggers | None

    def triggers(self, task: str) -> Triggers | None:
        """The held-out searches of 'q2i' or 'i2i'."""
        return {"q2i": self.q2i, "i2i": self.i2i}[task]

    def counts(self) -> dict[str, int]:
        """The part ``data`` of metrics.json, all plain numbers."""
        numbers = {
            "items": len(self.item_id), "items_seen": int(self.seen.sum()),
            "candidates": len(self.item_id), "queries": len(self.query),
            "train_pairs": len(self.train_pairs),
            "category_levels": self.category.shape[1],
            "items_with_category": int(np.any(self.category != UNKNOWN, axis=1).sum()),
            "category_is_truth": int(self.category_is_truth),
        }
        for name, triggers in (("q2i", self.q2i), ("i2i", self.i2i)):
            if triggers is not None:
                numbers[f"{name}_triggers"] = int(np.sum(triggers.relevant.counts > 0))
                numbers[f"{name}_pairs"] = len(triggers.relevant.values)
                numbers[f"{name}_pairs_in_training"] = triggers.pairs_in_training
        return numbers


def load_catalogue(data_dir: pathlib.Path) -> Catalogue:
    """Reads a dataset's sidecars. UserError for missing files, unknown ids and empty splits.

    Categories are the true ones if ``truth.parquet`` is there, else the seller's.
    """
    items_path, queries_path = data_dir / "items.parquet", data_dir / "queries.parquet"
    items = columns.read_table(
        items_path, ["item_index", "item_id", "text", "title", "category", "attributes", "seen"],
        BUILDER)
    queries = columns.read_table(queries_path, ["query_index", "query"], BUILDER)
    for table, column, path in ((items, "item_index", items_path),
                                (queries, "query_index", queries_path)):
        _check_order(table, column, path)
    num_items, num_queries = len(items), len(queries)
    if pc.count_distinct(items["item_id"]).as_py() != num_items:
        raise UserError(f"{items_path}: item_id has repeated values among {num_items} rows; "
                        "expected each id once: build the dataset again")

    pairs_path = data_dir / "train_pairs.parquet"
    pairs = columns.read_table(pairs_path, ["query_index", "item_index", "weight"], BUILDER)
    pair_query = columns.integers(pairs, "query_index", pairs_path, num_queries)
    pair_item = columns.integers(pairs, "item_index", pairs_path, num_items)

    seller, seller_names = category_labels(items)
    truth = _load_truth(data_dir / "truth.parquet", num_items)
    category, names, spu = truth or (seller, seller_names, None)
    order = pc.sort_indices(items["item_id"]).to_numpy()
    tie_rank = np.empty(num_items, np.int64)
    tie_rank[order] = np.arange(num_items)
    q2i = _load_triggers(data_dir / "q2i_test.parquet", "query_index", num_queries, num_items,
                         (pair_query, pair_item))
    if q2i is None:
        raise UserError(f"{data_dir / 'q2i_test.parquet'}: the test split is empty, 0 queries; "
                        "expected held-out queries with relevant items: build the dataset again "
                        "with a larger held-out share or a q2i_test file")
    return Catalogue(
        item_id=items["item_id"], text=items["text"], title=items["title"],
        seen=items["seen"].to_numpy().astype(bool), tie_rank=tie_rank,
        category=category, category_names=names, category_is_truth=truth is not None,
        cpv=cpv_labels(seller, items["attributes"]), spu=spu, query=queries["query"],
        train_pairs=np.stack([pair_query, pair_item], axis=1),
        train_weights=pairs["weight"].to_numpy().astype(np.float32), q2i=q2i,
        i2i=_load_triggers(data_dir / "i2i_test.parquet", "item_index", num_items, num_items, None))


def _check_order(table: pa.Table, column: str, path: pathlib.Path) -> None:
    if not len(table):
        raise UserError(f"{path} has no rows; expected at least one: build the dataset again")
    if not np.array_equal(table[column].to_numpy(), np.arange(len(table))):
        raise UserError(f"{path}: column {column} is not 0 to {len(table) - 1} in order; expected "
                        "one row per index: build the dataset again")


def _load_triggers(path: pathlib.Path, key: str, num_triggers: int, num_items: int,
                   training: tuple[np.ndarray, np.ndarray] | None) -> Triggers | None:
    """Reads a held-out split; None if it has no row, or (i2i, which is optional) no file.

    ``training``: (query, item) pairs to exclude; None for i2i, where the trigger itself is.
    """
    is_query = training is not None
    if not is_query and not path.exists():
        return None
    unseen = "unseen_query" if is_query else "unseen_item"
    table = columns.read_table(
        path, [key, "item_indices", unseen] + (["head"] if is_query else []), BUILDER)
    if not len(table):
        return None
    index = columns.integers(table, key, path, num_triggers)
    if len(np.unique(index)) != len(index):
        raise UserError(f"{path}: column {key} has {len(index) - len(np.unique(index))} repeated "
                        "triggers; expected each once with all its items: build the dataset again")
    rows, values = columns.flat_list(table, "item_indices")
    values = values.to_numpy(zero_copy_only=False).astype(np.int64)
    columns.check_range(values, num_items, path, "item_indices")
    supplied = Lists.from_pairs(rows, values, len(index))
    if is_query:
        row_of = np.full(num_triggers, -1)
        row_of[index] = np.arange(len(index))
        ours = row_of[training[0]] >= 0
        excluded = Lists.from_pairs(row_of[training[0][ours]], training[1][ours], len(index))
    else:
        excluded = Lists.from_pairs(np.arange(len(index)), index, len(index))
    relevant = supplied.without(excluded)
    if not len(relevant.values):
        raise UserError(f"{path}: none of {len(index)} triggers has a relevant item ("
                        f"{len(supplied.values)} pairs given, all of them "
                        f"{'training pairs' if is_query else 'the trigger itself'}); expected "
                        "held-out pairs: build the dataset again")
    return Triggers(
        index=index, relevant=relevant, excluded=excluded,
        unseen=table[unseen].to_numpy().astype(bool),
        frequency=np.array(table["head"].to_pylist(), str) if is_query else None,
        pairs_in_training=len(supplied.values) - len(relevant.values) if is_query else 0)


def _load_truth(path: pathlib.Path, num_items: int
                ) -> tuple[np.ndarray, list[list[str]], np.ndarray] | None:
    """(category int64 [N, L], names, spu int64 [N]) or None if the dataset has no truth."""
    if not path.exists():
        return None
    table = columns.read_table(path, ["item_index", "category", "spu"], BUILDER)
    index = columns.integers(table, "item_index", path, num_items)
    labels, names = category_labels(table)
    category = np.full((num_items, labels.shape[1]), UNKNOWN, np.int64)
    category[index] = labels
    spu = np.full(num_items, UNKNOWN, np.int64)
    codes = table["spu"].combine_chunks().dictionary_encode().indices
    spu[index] = codes.fill_null(UNKNOWN).to_numpy(zero_copy_only=False)
    if not np.any(spu != UNKNOWN):
        raise UserError(f"{path} names no product (column spu) for {num_items} items; expected "
                        "the true product of some: complete or remove the truth file and build "
                        "the dataset again")
    return category, names, spu


def category_labels(table: pa.Table) -> tuple[np.ndarray, list[list[str]]]:
    """Labels the paths of column ``category`` (list<str>, may be null).

    Returns int64 [N, L]: column j numbers the distinct first j + 1 names, -1 where a path is
    shorter; and for each level the last name of each label.
    """
    rows, values = columns.flat_list(table, "category")
    encoded = values.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    name = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    depth = int(place.max(initial=-1)) + 1
    labels = np.full((len(table), depth), UNKNOWN, np.int64)
    parent = np.zeros(len(table), np.int64)
    last_names = []
    for level in range(depth):
        at = (place == level) & (name < len(names))
        if level:
            at &= labels[rows, level - 1] != UNKNOWN
        joint = parent[rows[at]] * (len(names) + 1) + name[at]
        distinct, label = np.unique(joint, return_inverse=True)
        labels[rows[at], level] = parent[rows[at]] = label
        last_names.append([names[each] for each in distinct % (len(names) + 1)])
    return labels, last_names


def cpv_labels(category_NxL: np.ndarray, attributes: pa.ChunkedArray) -> np.ndarray:
    """Clusters items as sellers do, by category and key attributes (paper Table 1, CPV).

    The key attributes of a category are those that at least half of its items with any attribute
    fill in. attributes: JSON objects as text, or null. Returns int64 [N], -1 for an item without
    category, or without a value for one of its key attributes.
    """
    num_items = len(category_NxL)
    if not category_NxL.shape[1]:
        return np.full(num_items, UNKNOWN, np.int64)
    depth = (category_NxL != UNKNOWN).sum(axis=1)
    leaf = category_NxL[np.arange(num_items), np.maximum(depth - 1, 0)]
    filled, uses, holders = {}, {}, {}
    rows = np.flatnonzero(attributes.is_valid().to_numpy()).tolist()
    for row, text in zip(rows, attributes.drop_null().to_pylist()):
        values = {key: value for key, value in json.loads(text).items() if value}
        if depth[row] and values:
            node = (int(depth[row]), int(leaf[row]))
            filled[row] = (node, values)
            holders[node] = holders.get(node, 0) + 1
            for key in values:
                uses[node, key] = uses.get((node, key), 0) + 1
    keys = {}
    for (node, key), count in sorted(uses.items()):
        if 2 * count >= holders[node]:
            keys.setdefault(node, []).append(key)
    labels, numbers = np.full(num_items, UNKNOWN, np.int64), {}
    for row, (node, values) in filled.items():
        if node in keys and all(key in values for key in keys[node]):
            cluster = (node, *(values[key] for key in keys[node]))
            labels[row] = numbers.setdefault(cluster, len(numbers))
    return labels
