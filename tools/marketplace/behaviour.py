"""What searchers do: clicks, contacts, purchases, accidents, and what is held out for tests."""

import dataclasses
import math
import zlib

import numpy as np

from tools.marketplace.draws import uniform
from tools.marketplace.language import Language
from tools.marketplace.listings import Draw, Facts
from tools.marketplace.queries import QUERY_DRAWS, write_query

SEEN_STREAM = 5
MIN_QUERIES, MAX_QUERIES = 3, 8
ACTION_DRAWS = 4
BEHAVIOUR_DRAWS = MAX_QUERIES * (QUERY_DRAWS + ACTION_DRAWS) + 2
"""Uniform numbers the behaviour around one item may use."""

NOISE = 0.05
"""Noise pairs per item: a query that has nothing to do with it."""
UNSEEN_ITEMS = 0.025
UNSEEN_QUERIES = 0.02
SPLIT_QUERIES = 0.03
"""Share of queries that keep half of their pairs for the test."""
UNSEEN_ITEM_PAIRS = 0.25
"""Share of an unseen item's pairs with ordinary queries that become test pairs."""
MAX_RELEVANT = 5
FULL_TEST_ITEMS = 100_000
"""Beyond this many items the share of test queries shrinks, so that the test keeps its size."""


@dataclasses.dataclass
class Pair:
    """A query-item pair with its counts."""

    query: str
    click: int
    contact: int
    purchase: int
    noise: bool

    @property
    def weight(self) -> int:
        """How strongly the pair is meant, for choosing the test's relevant items."""
        return self.click + 3 * self.contact + 5 * self.purchase


def seen_items(seed: int, items: np.ndarray) -> np.ndarray:
    """bool [n]: whether an item's interactions may be used for training at all."""
    return uniform(seed, SEEN_STREAM, items)[:, 0] >= UNSEEN_ITEMS


def _counts(query: str, intent: int, popularity: float, draw: Draw, noise: bool) -> Pair:
    """Popular items under specific queries are clicked most; some of it leads further."""
    rate = 0.3 if noise else 0.5 + 3.0 * popularity**4 + 0.25 * max(intent - 3, 0)
    click = 1 + int(-math.log(1.0 - draw()) * rate)
    u = draw()
    contact = int(-math.log(1.0 - u) * 0.35 * rate) if not noise else 0
    purchase = 1 if contact and draw() < 0.3 else 0
    return Pair(query, click, contact, purchase, noise)


def item_pairs(language: Language, facts: Facts, stranger: Facts, popularity: float,
               draw: Draw) -> list[Pair]:
    """The distinct queries that led to one item, with counts.

    Args:
      language: phrases.
      facts: the item.
      stranger: another item, whose query strays here in a noise pair.
      popularity: uniform number of the item.
      draw: next uniform number; at most ``BEHAVIOUR_DRAWS`` are used.
    """
    noise = draw() < NOISE
    count = MIN_QUERIES + int((MAX_QUERIES - 1 - MIN_QUERIES) * (0.55 * draw() + 0.45 * popularity)
                              + 0.5)
    pairs: dict[str, Pair] = {}
    for n in range(count + noise):
        stray = n == count
        query, intent = write_query(language, stranger if stray else facts, popularity, draw)
        pair = _counts(query, intent, popularity, draw, stray)
        known = pairs.get(query)
        if known is None:
            pairs[query] = pair
        elif not stray:
            known.click += pair.click
            known.contact += pair.contact
            known.purchase += pair.purchase
    return list(pairs.values())


class HoldOut:
    """Decides, pair by pair and by hash alone, what is for training and what for the test.

    Only the test's own triggers, whose number stops growing at ``FULL_TEST_ITEMS`` items, and a
    byte per item are held in memory.
    """

    def __init__(self, seed: int, num_items: int):
        self._seed = seed
        self._scale = min(1.0, FULL_TEST_ITEMS / num_items)
        self._test: dict[str, list[tuple[int, int]]] = {}
        self.trained = np.zeros(num_items, bool)
        """bool [num_items]: items with a training interaction so far; the others are unseen."""

    def _hash(self, text: str) -> float:
        crc = zlib.crc32(f"{self._seed} {text}".encode())
        return (crc * 2654435761 % 2**32) / 2**32

    def is_training(self, item: int, seen: bool, pair: Pair) -> bool:
        """Whether the pair may be written to the interactions; keeps it for the test if not."""
        u = self._hash(pair.query)
        unseen_query = self._scale * UNSEEN_QUERIES
        split_query = unseen_query + self._scale * SPLIT_QUERIES
        if u < unseen_query:
            test = True
        elif u < split_query:
            test = self._hash(f"{item} {pair.query}") < 0.5
        else:
            test = False
        if not seen and u >= unseen_query:
            test = u > 1.0 - self._scale * UNSEEN_ITEM_PAIRS
        if test and not pair.noise:
            relevant = self._test.setdefault(pair.query, [])
            relevant.append((-pair.weight, item))
            if len(relevant) > 8 * MAX_RELEVANT:
                relevant.sort()
                del relevant[MAX_RELEVANT:]
        training = seen and not test
        if training:
            self.trained[item] = True
        return training

    def triggers(self):
        """Yields (query, the at most ``MAX_RELEVANT`` items meant most), in order of query."""
        for query in sorted(self._test):
            yield query, [item for _, item in sorted(self._test[query])[:MAX_RELEVANT]]
