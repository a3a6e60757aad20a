"""The ID tree as data for the report: a bounded number of nodes, each with samples of its members.

A node is a range of the items sorted by ID, so a million items need no list per node. Large nodes
are described by a sample; how many nodes are described is bounded, the largest first.
"""

import dataclasses
import heapq

import numpy as np
import pyarrow as pa

from gsid_jax.evaluate import codes
from gsid_jax.evaluate.catalogue import Catalogue
from gsid_jax.evaluate.clustering import UNKNOWN
from gsid_jax.evaluate.method import Method

MAX_NODES = 6000
SAMPLE = 200  # members read to describe a node
TEXTS = 4  # titles and queries kept of a node
SEARCHED = 24_000  # titles kept of all whole IDs together, so that the search finds more
MOST = 60  # titles, and queries, kept of one whole ID
MIX = 4  # categories shown of a node
MAX_TEXT = 110


@dataclasses.dataclass
class TreeData:
    """nodes: one list each, in the order of discovery:

    [parent or -1, code, items, children in the tree, queries, [category number, share] ...,
    purity, spu purity or null, title numbers, query numbers]. texts, categories: string tables.
    """

    nodes: list[list]
    texts: list[str]
    categories: list[str]
    levels: int
    items: int
    queries: int
    distinct: int
    shown: int = TEXTS  # of a node's texts; the others are for the search

    def plain(self) -> dict:
        return dataclasses.asdict(self)


class _Strings:
    """Numbers distinct strings."""

    def __init__(self):
        self.number: dict[str, int] = {}

    def add(self, text: str) -> int:
        return self.number.setdefault(text, len(self.number))


def build(catalogue: Catalogue, method: Method, max_nodes: int = MAX_NODES,
          seed: int = 0) -> TreeData:
    """Describes the largest ``max_nodes`` nodes, parents before children."""
    item_codes = method.item_codes
    num_items, levels = item_codes.shape
    query_codes = (method.query_codes if method.query_codes is not None
                   else np.zeros((0, levels), item_codes.dtype))
    labels = codes.prefix_labels(np.concatenate([item_codes, query_codes]))
    order = np.argsort(labels[:num_items, -1], kind="stable")
    asked = np.argsort(labels[num_items:, -1], kind="stable")
    distinct = len(np.unique(labels[:num_items, -1]))
    item_labels = [column[:num_items][order] for column in labels.T]
    query_labels = [column[num_items:][asked] for column in labels.T]
    describe = _Describer(catalogue, method, order, asked, np.random.default_rng(seed),
                          int(np.clip(SEARCHED // distinct, TEXTS, MOST)))

    def children(level: int, low: int, high: int) -> list[tuple[int, int]]:
        part = item_labels[level][low:high]
        starts = low + np.flatnonzero(np.r_[True, part[1:] != part[:-1]])
        return list(zip(starts.tolist(), [*starts[1:].tolist(), high]))

    nodes: list[list] = []
    waiting = [(low - high, 0, low, high, -1) for low, high in children(0, 0, num_items)]
    heapq.heapify(waiting)
    while waiting and len(nodes) < max_nodes:
        _, level, low, high, parent = heapq.heappop(waiting)
        label = item_labels[level][low]
        first = int(np.searchsorted(query_labels[level], label, side="left"))
        last = int(np.searchsorted(query_labels[level], label, side="right"))
        below = children(level + 1, low, high) if level + 1 < levels else []
        number = len(nodes)
        nodes.append([parent, int(item_codes[order[low], level]), high - low, len(below),
                      last - first, *describe(level, low, high, first, last)])
        for start, stop in below:
            heapq.heappush(waiting, (start - stop, level + 1, start, stop, number))
    return TreeData(nodes, list(describe.texts.number), list(describe.categories.number), levels,
                    num_items, len(query_codes), distinct)


class _Describer:
    """Samples a node's members: category mix, purities, typical titles and queries."""

    def __init__(self, catalogue: Catalogue, method: Method, order: np.ndarray, asked: np.ndarray,
                 draw: np.random.Generator, deep: int):
        self._catalogue, self._method = catalogue, method
        self._order, self._asked, self._draw, self._deep = order, asked, draw, deep
        self.texts, self.categories = _Strings(), _Strings()

    def _sample(self, order: np.ndarray, low: int, high: int) -> np.ndarray:
        if high - low <= SAMPLE:
            return order[low:high]
        return order[np.sort(self._draw.choice(high - low, SAMPLE, replace=False)) + low]

    def __call__(self, level: int, low: int, high: int, first: int, last: int) -> list:
        members = self._sample(self._order, low, high)
        asking = self._sample(self._asked, first, last)
        centroid = None
        if self._method.item_vectors is not None:
            vectors = np.asarray(self._method.item_vectors[members], np.float32)
            centroid = vectors.mean(axis=0)
            members = members[np.argsort(-np.round(vectors @ centroid, 5), kind="stable")]
            if self._method.query_vectors is not None and len(asking):
                near = np.asarray(self._method.query_vectors[asking], np.float32) @ centroid
                asking = asking[np.argsort(-np.round(near, 5), kind="stable")]
        mix = self._mix(members, level)
        most = self._deep if level + 1 == self._method.item_codes.shape[1] else TEXTS
        return [mix, mix[0][1] if mix else None, self._spu(members),
                self._texts(self._catalogue.title, members, most),
                self._texts(self._catalogue.query, asking, most)]

    def _mix(self, members: np.ndarray, level: int) -> list[list]:
        """Shares of the categories one level deeper than the node's own."""
        depth = self._catalogue.category.shape[1]
        if not depth:
            return []
        at = min(level + 1, depth - 1)
        labels = self._catalogue.category[members, at]
        labels = labels[labels != UNKNOWN]
        found, counts = np.unique(labels, return_counts=True)
        best = np.lexsort((found, -counts))[:MIX]
        names = self._catalogue.category_names[at]
        return [[self.categories.add(names[found[i]]), round(float(counts[i] / len(labels)), 3)]
                for i in best]

    def _spu(self, members: np.ndarray) -> float | None:
        if self._catalogue.spu is None:
            return None
        known = self._catalogue.spu[members]
        known = known[known != UNKNOWN]
        return round(float(np.unique(known, return_counts=True)[1].max() / len(known)), 3) if (
            len(known)) else None

    def _texts(self, column: pa.ChunkedArray, rows: np.ndarray, most: int) -> list[int]:
        kept: dict[str, None] = {}
        for text in column.take(pa.array(rows[:4 * most])).to_pylist():
            kept.setdefault(shorten(text or ""), None)
        return [self.texts.add(text) for text in list(kept)[:most]]


def shorten(text: str) -> str:
    """The text on one line, cut to MAX_TEXT characters with an ellipsis."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT - 1].rstrip() + "…"
