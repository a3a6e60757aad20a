"""Swing: which items the same pairs of users look at (paper, appendix A: item-item evaluation).

    s(i, j) = sum over user pairs {u, v} in U_i and U_j of w_u w_v / (alpha + |I_u and I_v|)

U_i are the users of item i, I_u the items of user u, w_u = |I_u| ** -power. Two users who share few
items say much about those they share. Every term is rounded to a multiple of 2**-40 and summed as a
whole number, so the order of summing, hence the number of machines, changes nothing.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterator

import numpy as np
import scipy.sparse

from gsid_jax.errors import UserError
from gsid_jax.progress import Progress

ONE = 1 << 40  # what a score of 1 is as a whole number
CHUNK_TERMS = 1 << 24  # pairs of users looked at, or of items added, at once
NO_TIME = -1


@dataclasses.dataclass(frozen=True)
class SwingSettings:
    """How similarity is counted."""

    alpha: float = 1.0
    """Added to the number of shared items of two users."""
    power: float = 0.5
    """w_u = |I_u| ** -power: active users weigh less; 0: all alike."""
    top: int = 100
    """Similar items kept per item."""
    max_user_items: int = 200
    """Of a user with more items the latest count."""
    max_item_users: int = 500
    """Of an item with more users as many count, chosen by hash."""
    since: int = 0
    """Views before this time (seconds since 1970) do not count; 0: no limit."""
    until: int = 0
    """Views at or after this time do not count; 0: no limit."""

    def __post_init__(self):
        for name, least in (("alpha", 0), ("power", 0), ("top", 1), ("max_user_items", 2),
                            ("max_item_users", 2), ("since", 0), ("until", 0)):
            if not least <= getattr(self, name) < math.inf:
                raise UserError(f"bad {name}: got {getattr(self, name)}, expected {least} or more: "
                                f"pass --{name}={getattr(SwingSettings, name)}")

    def in_window(self, time: int) -> bool:
        """Whether a view counts; one without a time only if no window is asked for."""
        return (not self.since or time >= self.since) and (
            not self.until or NO_TIME < time < self.until)


@dataclasses.dataclass
class Views:
    """Who looked at what, each (user, item) once."""

    user: np.ndarray  # int64 [V]
    item: np.ndarray  # int64 [V], in the order of the item ids
    time: np.ndarray  # int64 [V], seconds since 1970, or the place in the user's sequence
    user_ids: list[str]
    item_ids: list[str]

    def where(self, mask: np.ndarray) -> "Views":
        return dataclasses.replace(self, user=self.user[mask], item=self.item[mask],
                                   time=self.time[mask])


def hash_rank(user: str, item: str) -> int:
    """Decides which users of a popular item count: those of the smallest hashes."""
    return int.from_bytes(hashlib.blake2b(f"{user}\0{item}".encode(), digest_size=8).digest(),
                          "big") >> 1


def user_weights(most: int, power: float) -> np.ndarray:
    """w_u by |I_u|, float64 [most + 1]."""
    return np.array([0.0] + [math.pow(count, -power) for count in range(1, most + 1)])


def term(weight_u: float, weight_v: float, shared: int, alpha: float) -> int:
    """What a pair of users adds to each pair of the items they share, as a whole number."""
    return round(weight_u * weight_v / (alpha + shared) * ONE)


def capped(views: Views, settings: SwingSettings) -> Views:
    """Applies both caps: the latest items of each user, then some users of each item."""
    order = np.lexsort((views.item, -views.time, views.user))
    views = views.where(order)
    views = views.where(_rank(views.user) < settings.max_user_items)
    popular = np.bincount(views.item, minlength=len(views.item_ids)) > settings.max_item_users
    busy = np.flatnonzero(popular[views.item])
    rank = np.zeros(len(views.user), np.int64)
    rank[busy] = [hash_rank(views.user_ids[user], views.item_ids[item]) for user, item in
                  zip(views.user[busy].tolist(), views.item[busy].tolist())]
    views = views.where(np.lexsort((views.user, rank, views.item)))
    return views.where(_rank(views.item) < settings.max_item_users)


def _rank(groups: np.ndarray) -> np.ndarray:
    """Place of each element among those of its group; equal ``groups`` stand side by side."""
    place = np.arange(len(groups))
    first = np.concatenate([[True], groups[1:] != groups[:-1]]) if len(groups) else place > 0
    return place - np.maximum.accumulate(np.where(first, place, 0))


def similar_items(views: Views, settings: SwingSettings
                  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of the ``top`` items of each item: (item, similar, score * 2**40), int64 [R] each.

    Sorted by item, best first; equal scores by item id.
    """
    views = capped(views, settings)
    shape = (len(views.user_ids), len(views.item_ids))
    visited = scipy.sparse.csr_matrix(
        (np.ones(len(views.user), np.int32), (views.user, views.item)), shape)
    sizes = np.diff(visited.indptr)
    visited = visited[sizes >= 2]  # a user of one item shares no pair with anybody
    weight = user_weights(int(sizes.max(initial=1)), settings.power)[sizes]
    weight = weight[sizes >= 2]
    visited.sort_indices()
    sums = _Sums()
    for keys, values in _terms(visited, weight, settings.alpha):
        sums.add(keys, values)
    keys, values = sums.total()
    first, second = np.divmod(keys, shape[1])
    item, similar = np.concatenate([first, second]), np.concatenate([second, first])
    score = np.concatenate([values, values])
    order = np.lexsort((similar, -score, item))
    item, similar, score = item[order], similar[order], score[order]
    best = _rank(item) < settings.top
    return item[best], similar[best], score[best]


class _Sums:
    """Sums by key, in a sorted list that new ones are merged into."""

    def __init__(self):
        self._keys, self._values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        self._merged = 0

    def add(self, keys: np.ndarray, values: np.ndarray) -> None:
        keys, values = _reduced(keys, values)
        self._keys.append(keys)
        self._values.append(values)
        if sum(map(len, self._keys)) > 2 * self._merged + CHUNK_TERMS:
            keys, values = self.total()
            self._keys, self._values, self._merged = [keys], [values], len(keys)

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        return _reduced(np.concatenate(self._keys), np.concatenate(self._values))


def _reduced(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(keys):
        return keys, values
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(values, starts)


def _terms(visited: scipy.sparse.csr_matrix, weight: np.ndarray, alpha: float
           ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (i * N + j for i < j, term) for every pair of users and items they share."""
    users, width = visited.shape
    transposed = visited.T.tocsr()
    popularity = np.diff(transposed.indptr).astype(np.int64)
    work = np.cumsum(visited @ popularity)  # user pairs that the product will look at, up to each
    viewed = np.repeat(np.arange(users), np.diff(visited.indptr)) * width + visited.indices
    progress, start = Progress("swing (users)", users), 0
    while start < users:
        done = work[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(work, done + CHUNK_TERMS, "right")))
        shared = (visited[start:stop] @ transposed).tocoo()
        u, v, k = shared.row.astype(np.int64) + start, shared.col.astype(np.int64), shared.data
        keep = (v > u) & (k >= 2)
        u, v, k = u[keep], v[keep], k[keep].astype(np.int64)
        value = np.rint(weight[u] * weight[v] / (alpha + k) * ONE).astype(np.int64)
        bounds = np.searchsorted(np.cumsum(k * (k - 1) // 2),
                                 np.arange(0, int((k * (k - 1) // 2).sum()) + 1, CHUNK_TERMS))
        for low, high in zip(bounds, [*bounds[1:], len(u)]):
            if low < high:
                rows = slice(low, high)
                items = _shared_items(visited, viewed, u[rows], v[rows])
                first, second, pair = _item_pairs(k[rows])
                yield items[first] * width + items[second], value[rows][pair]
        progress.update(stop - start)
        start = stop


def _shared_items(visited: scipy.sparse.csr_matrix, viewed: np.ndarray, u: np.ndarray,
                  v: np.ndarray) -> np.ndarray:
    """The items that each pair of users shares, ascending, one pair after the other."""
    count = np.diff(visited.indptr)[u].astype(np.int64)
    start = visited.indptr[u].astype(np.int64)
    place = np.repeat(start - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(
        count.sum())
    items = visited.indices[place].astype(np.int64)
    keys = np.repeat(v, count) * visited.shape[1] + items
    found = np.minimum(np.searchsorted(viewed, keys), len(viewed) - 1)
    return items[viewed[found] == keys]


def _item_pairs(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places (first < second) of all pairs inside runs of ``counts`` items, and their runs."""
    run = np.repeat(np.arange(len(counts)), counts)
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    partners = counts[run] - 1 - rank
    first = np.repeat(np.arange(len(run)), partners)
    step = np.arange(partners.sum()) - np.repeat(np.cumsum(partners) - partners, partners)
    return first, first + 1 + step, run[first]
