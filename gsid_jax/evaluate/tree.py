"""A readable excerpt of the ID tree: for some IDs their most typical titles and queries."""

import collections
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from gsid_jax.evaluate import codes
from gsid_jax.evaluate.catalogue import Catalogue
from gsid_jax.evaluate.clustering import UNKNOWN
from gsid_jax.evaluate.method import Method

MAX_TEXT = 72  # characters of a title or query
MAX_MEMBERS = 2000  # vectors read to find the typical ones of an ID


def excerpt(catalogue: Catalogue, method: Method, branches: int = 3, children: int = 2,
            texts: int = 3) -> str:
    """Returns a part of the tree as text.

    Shown are ``branches`` first codes, spread from the largest to the median by items. A first code
    and a last but one show their ``children`` largest nodes, those between only the largest; nodes
    that lead to an ID with a query of its own come first. Below an ID stand the ``texts`` titles
    and queries closest to the centroid of its items, by dot product (the first ones if there are no
    vectors).
    """
    prefixes = codes.prefix_labels(method.item_codes)
    queried = _queried(prefixes, method)
    distinct = prefixes[:, -1].max() + 1
    lines = [f"ID tree ({len(prefixes):,} items, {distinct:,} distinct IDs), excerpt:"]
    tops = _ranked(prefixes[:, 0], queried)
    spread = np.linspace(0, len(tops) // 2, min(branches, len(tops))).astype(int)
    for top in dict.fromkeys(tops[spread].tolist()):
        members = np.flatnonzero(prefixes[:, 0] == top)
        lines.append("")
        lines.extend(_node(catalogue, method, prefixes, queried, members, 1, children, texts))
    return "\n".join(lines) + "\n"


def _queried(prefixes: np.ndarray, method: Method) -> np.ndarray:
    """Tells for each item whether some query has its whole ID; bool [N]."""
    if method.query_codes is None:
        return np.zeros(len(prefixes), bool)
    labels = codes.prefix_labels(np.concatenate([method.item_codes, method.query_codes]))[:, -1]
    return np.isin(labels[:len(prefixes)], labels[len(prefixes):])


def _ranked(labels: np.ndarray, queried: np.ndarray) -> np.ndarray:
    """Distinct labels, those with a queried ID first, then by number of items."""
    distinct, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    has_query = np.bincount(inverse, weights=queried) > 0
    return distinct[np.lexsort((distinct, -sizes, ~has_query))]


def _node(catalogue: Catalogue, method: Method, prefixes: np.ndarray, queried: np.ndarray,
          members: np.ndarray, length: int, children: int, texts: int) -> Iterator[str]:
    """Lines of one node and what is shown below it. members: item indices of the node."""
    indent = "  " * (length - 1)
    path = "-".join(map(str, method.item_codes[members[0], :length].tolist()))
    plural = "item" if len(members) == 1 else "items"
    yield f"{indent}{path}  ({len(members):,} {plural}{_main_category(catalogue, members)})"
    if length < prefixes.shape[1]:
        labels = prefixes[members, length]
        shown = children if length in (1, prefixes.shape[1] - 1) else 1
        for label in _ranked(labels, queried[members])[:shown]:
            yield from _node(catalogue, method, prefixes, queried, members[labels == label],
                             length + 1, children, texts)
        return
    centroid = None
    if method.item_vectors is not None:
        centroid = np.asarray(method.item_vectors[members[:MAX_MEMBERS]], np.float64).mean(axis=0)
    titles = _typical(catalogue.title, members, method.item_vectors, centroid, texts)
    yield from (f"{indent}    item   {title}" for title in titles)
    if method.query_codes is not None:
        asked = np.flatnonzero((method.query_codes == method.item_codes[members[0]]).all(axis=1))
        queries = _typical(catalogue.query, asked, method.query_vectors, centroid, texts)
        yield from (f"{indent}    query  {query}" for query in queries)


def _main_category(catalogue: Catalogue, members: np.ndarray) -> str:
    """The deepest category that at least half of the node's items share, and its share."""
    for level in reversed(range(catalogue.category.shape[1])):
        labels = catalogue.category[members, level]
        counts = collections.Counter(labels[labels != UNKNOWN].tolist())
        if counts:
            label, count = min(counts.items(), key=lambda each: (-each[1], each[0]))
            if 2 * count >= len(members):
                name = catalogue.category_names[level][label]
                return f", {count / len(members):.0%} {name}"
    return ""


def _typical(texts: pa.ChunkedArray, rows: np.ndarray, vectors: np.ndarray | None,
             centroid: np.ndarray | None, number: int) -> list[str]:
    """The distinct texts closest to the centroid, nearest first."""
    rows = rows[:MAX_MEMBERS]
    if centroid is not None and vectors is not None:
        closeness = np.round(np.asarray(vectors[rows], np.float64) @ centroid, 6)
        rows = rows[np.argsort(-closeness, kind="stable")]
    shown = dict.fromkeys(shorten(text or "") for text in texts.take(pa.array(rows)).to_pylist())
    return list(shown)[:number]


def shorten(text: str) -> str:
    """The text on one line, cut to MAX_TEXT characters with an ellipsis."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT - 1].rstrip() + "…"
