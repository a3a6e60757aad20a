"""Examples worth looking at: CPV beside IDs (the paper's Fig. 3), and failures."""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gsid_jax.evaluate import codes, columns
from gsid_jax.evaluate.catalogue import BUILDER, Catalogue
from gsid_jax.evaluate.clustering import UNKNOWN
from gsid_jax.evaluate.method import Method
from gsid_jax.evaluate.report_tree import shorten

GROUPS = 4  # examples of each kind
MEMBERS = 5  # items shown of an example
FAILURES = 12
SHARED = 6


@dataclasses.dataclass(frozen=True)
class Example:
    """Items side by side; rows: (title, CPV, ID)."""

    heading: str
    rows: Sequence[tuple[str, str, str]]


def path(row: np.ndarray) -> str:
    """An ID as text: 17-3-101."""
    return "-".join(map(str, row.tolist()))


def cpv_text(catalogue: Catalogue, rows: np.ndarray) -> list[str]:
    """What sellers filled in: the end of the category path, then the attributes."""
    table = columns.read_table(catalogue.data_dir / "items.parquet", ["category", "attributes"],
                               BUILDER).take(pa.array(rows))
    texts = []
    for chosen, attributes in zip(table["category"].to_pylist(), table["attributes"].to_pylist()):
        values = list(json.loads(attributes).values()) if attributes else []
        texts.append(" › ".join((chosen or [])[-2:]) + (" · " if chosen and values else "")
                     + ", ".join(str(value) for value in values[:6]) or "(nothing)")
    return texts


def _example(catalogue: Catalogue, method: Method, heading: str, rows: np.ndarray) -> Example:
    titles = catalogue.title.take(pa.array(rows)).to_pylist()
    return Example(heading, [(shorten(title), cpv, path(method.item_codes[row])) for title, cpv, row
                             in zip(titles, cpv_text(catalogue, rows), rows)])


def _groups(labels: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """The rows of each label, the largest groups first."""
    order = rows[np.argsort(labels[rows], kind="stable")]
    starts = np.flatnonzero(np.r_[True, labels[order][1:] != labels[order][:-1]])
    return sorted(np.split(order, starts[1:]), key=lambda group: (-len(group), group[0]))


def one_id_many_cpv(catalogue: Catalogue, method: Method) -> list[Example]:
    """The same product (truth, or else the same title) with different CPV and one ID."""
    filled = np.flatnonzero(catalogue.cpv != UNKNOWN)
    goods = catalogue.spu
    if goods is None:
        titles = catalogue.title.combine_chunks().dictionary_encode().indices
        goods = titles.to_numpy(zero_copy_only=False)
    ids = codes.prefix_labels(method.item_codes)[:, -1]
    found = []
    if not len(filled):
        return found
    for group in _groups(goods, filled):
        if len(found) == GROUPS or len(group) < 2:
            break
        if goods[group[0]] == UNKNOWN:
            continue
        for same in _groups(ids, group):
            _, first = np.unique(catalogue.cpv[same], return_index=True)
            if len(first) >= 2:
                shown = same[np.sort(first)][:MEMBERS]
                found.append(_example(catalogue, method, f"{len(same)} items, {len(first)} "
                                      f"different CPV, one ID", shown))
                break
    return found


def one_cpv_many_ids(catalogue: Catalogue, method: Method) -> list[Example]:
    """The same CPV with different IDs."""
    filled = np.flatnonzero(catalogue.cpv != UNKNOWN)
    if not len(filled):
        return []
    ids = codes.prefix_labels(method.item_codes)[:, -1]
    found = []
    for group in _groups(catalogue.cpv, filled):
        if len(found) == GROUPS or len(group) < 2:
            break
        _, first = np.unique(ids[group], return_index=True)
        if len(first) >= 2:
            shown = group[np.sort(first)][:MEMBERS]
            found.append(_example(catalogue, method, f"{len(group)} items, one CPV, "
                                  f"{len(first)} different IDs", shown))
    return found


@dataclasses.dataclass(frozen=True)
class Failure:
    """A held-out query and its relevant item that disagree at the first code."""

    query: str
    query_id: str
    item: str
    item_id: str
    unseen: bool


def failures(catalogue: Catalogue, method: Method, seed: int = 0) -> tuple[int, list[Failure]]:
    """(how many pairs differ in the first code, some of them drawn at random)."""
    if method.query_codes is None:
        return 0, []
    queries, items = catalogue.q2i.pairs
    wrong = np.flatnonzero(method.query_codes[queries, 0] != method.item_codes[items, 0])
    draw = np.random.default_rng(seed)
    shown = np.sort(draw.choice(wrong, min(FAILURES, len(wrong)), replace=False))
    unseen = catalogue.q2i.unseen[catalogue.q2i.relevant.rows]
    return len(wrong), [
        Failure(shorten(catalogue.query[int(queries[i])].as_py()),
                path(method.query_codes[queries[i]]),
                shorten(catalogue.title[int(items[i])].as_py()), path(method.item_codes[items[i]]),
                bool(unseen[i])) for i in shown]


def biggest(catalogue: Catalogue, method: Method, seed: int = 0) -> list[tuple[str, int, list[str]]]:
    """The IDs that most items share: (ID, items, titles drawn at random)."""
    ids = codes.prefix_labels(method.item_codes)[:, -1]
    sizes = np.bincount(ids)
    draw = np.random.default_rng(seed)
    found = []
    for label in np.argsort(-sizes, kind="stable")[:SHARED]:
        members = np.flatnonzero(ids == label)
        shown = draw.choice(members, min(MEMBERS, len(members)), replace=False)
        titles = [shorten(text) for text in catalogue.title.take(pa.array(shown)).to_pylist()]
        found.append((path(method.item_codes[members[0]]), len(members), titles))
    return found
