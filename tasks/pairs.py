"""From events to query-item pairs: spam guards, sums by action, frequency limits, item pairs."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tasks.dataset_settings import Settings
from tasks.events import NO_TIME, NO_USER, Events


@dataclasses.dataclass
class Pairs:
    """Pairs, each (query, item) once, by item, then weight (heaviest first), then query."""

    query: np.ndarray  # int64 [P]
    item: np.ndarray  # int64 [P]
    weight: np.ndarray  # float64 [P]
    conversions: np.ndarray  # int64 [P], contacts and purchases

    def where(self, mask: np.ndarray) -> "Pairs":
        return Pairs(self.query[mask], self.item[mask], self.weight[mask], self.conversions[mask])

    def keys(self, num_queries: int) -> np.ndarray:
        """One number for each pair; int64 [P]."""
        return self.item * max(num_queries, 1) + self.query


def sum_events(events: Events, weights: Sequence[float], num_queries: int) -> Pairs:
    """Sums the events of each pair; its weight is counts times the weights of their actions."""
    width = max(num_queries, 1)
    joint, inverse = np.unique(events.item * width + events.query, return_inverse=True)
    counts = np.zeros((len(joint), 3), np.int64)
    np.add.at(counts, inverse, events.counts)
    weight = sum(counts[:, action] * weights[action] for action in range(3))
    item, query = np.divmod(joint, width)
    return ordered(Pairs(query, item, weight.astype(np.float64), counts[:, 1:].sum(axis=1)))


def ordered(pairs: Pairs) -> Pairs:
    """By item, heaviest first, then by query."""
    return pairs.where(np.lexsort((pairs.query, -pairs.weight, pairs.item)))


def guard(events: Events, settings: Settings, num_queries: int
          ) -> tuple[Events, dict[str, int]]:
    """Leaves out the events of users and queries with absurd counts; (events, what was dropped)."""
    dropped = {}
    if settings.max_user_events:
        users, inverse, counts = np.unique(events.user, return_inverse=True, return_counts=True)
        spam = (counts > settings.max_user_events) & (users != NO_USER)
        mask = spam[inverse]
        dropped |= {"spam_users": int(spam.sum()), "spam_user_events": int(mask.sum())}
        events = events.where(~mask)
    if settings.max_query_items:
        pairs = np.unique(events.item * max(num_queries, 1) + events.query) % max(num_queries, 1)
        spam = np.bincount(pairs, minlength=num_queries) > settings.max_query_items
        mask = spam[events.query]
        dropped |= {"spam_queries": int(spam.sum()), "spam_query_events": int(mask.sum())}
        events = events.where(~mask)
    return events, dropped


def cut_off(pairs: Pairs, settings: Settings, num_queries: int, num_items: int
            ) -> tuple[Pairs, dict[str, int]]:
    """Leaves out light pairs, then light queries, then light items; (pairs, what was dropped)."""
    dropped = {}
    for name, limit, values, size in (
            ("pairs", settings.min_pair_weight, None, 0),
            ("queries", settings.min_query_weight, "query", num_queries),
            ("items", settings.min_item_weight, "item", num_items)):
        if not limit:
            continue
        if values is None:
            light = pairs.weight < limit
            count = int(light.sum())
        else:
            index = getattr(pairs, values)
            sums = np.bincount(index, pairs.weight, size)
            light = (sums < limit)[index]
            count = len(np.unique(index[light]))
        dropped |= {f"light_{name}": count, f"light_{name}_pairs": int(light.sum())}
        pairs = pairs.where(~light)
    return pairs, dropped


def first_times(events: Events, num_items: int) -> np.ndarray:
    """Seconds of the first event of each item; int64 [N], the largest number where it has none."""
    first = np.full(num_items, np.iinfo(np.int64).max)
    timed = events.time != NO_TIME
    np.minimum.at(first, events.item[timed], events.time[timed])
    return first
