"""What users look at one after the other, and the held-out item-to-item triggers."""

import numpy as np

from tools.marketplace.behaviour import MAX_RELEVANT
from tools.marketplace.draws import uniform
from tools.marketplace.world import World

USER_STREAM, TRIGGER_STREAM, POPULARITY_STREAM = 6, 7, 4
USERS_PER_ITEM = 0.8
MIN_LENGTH, MAX_LENGTH = 3, 12
SAME_SPU, SAME_LEAF, SAME_GROUP = 0.5, 0.8, 0.92
"""Cumulative chances that the next item shares the SPU, the leaf or the level-3 category."""
NEW_INTEREST = 0.15
TRIGGER_ITEMS = 0.05
UNSEEN_TRIGGER_ITEMS = 0.5
TRIGGER_SAME_SPU = 0.8
FULL_TRIGGER_ITEMS = 100_000


def popularity(seed: int, items: np.ndarray) -> np.ndarray:
    """Popularity of each item, uniform in [0, 1), float64 [n]."""
    return uniform(seed, POPULARITY_STREAM, items)[:, 0]


class Neighbours:
    """Items sorted by SPU, hence by leaf and group, most popular first: 8 bytes an item."""

    def __init__(self, world: World, chunk_items: int):
        self.world = world
        n = world.num_items
        spus = np.empty(n, np.int32)
        fame = np.empty(n, np.float32)
        for start in range(0, n, chunk_items):
            items = np.arange(start, min(start + chunk_items, n))
            spus[items] = world.item_spus(items)
            fame[items] = popularity(world.seed, items)
        self.order = np.lexsort((-fame, spus)).astype(np.int64 if n > 2**31 else np.int32)
        del fame
        self.spu_start = np.searchsorted(spus[self.order], np.arange(world.num_spus + 1))
        groups = np.array([leaf.group for leaf in world.leaves])
        self._group_leaf = np.searchsorted(groups, np.arange(groups[-1] + 2))
        self._groups = groups

    def ranges(self, spus: np.ndarray, u: np.ndarray, bounds) -> tuple[np.ndarray, np.ndarray]:
        """[low, high) places in `order` to draw from, for scope draws `u` against `bounds`."""
        world = self.world
        leaf = world.spu_leaf[spus]
        group = self._groups[leaf]
        first = np.select([u < bounds[0], u < bounds[1], u < bounds[2]],
                          [spus, world.leaf_start[leaf],
                           world.leaf_start[self._group_leaf[group]]], 0)
        last = np.select([u < bounds[0], u < bounds[1], u < bounds[2]],
                         [spus + 1, world.leaf_start[leaf + 1],
                          world.leaf_start[self._group_leaf[group + 1]]], world.num_spus)
        return self.spu_start[first], self.spu_start[last]

    def draw(self, spus: np.ndarray, scope: np.ndarray, u: np.ndarray, bounds) -> np.ndarray:
        """One item per row near the given SPU; the popular ones more often."""
        low, high = self.ranges(spus, scope, bounds)
        return self.order[np.minimum(low + ((high - low) * u**1.5).astype(np.int64), high - 1)]


def held_out_triggers(neighbours: Neighbours, trained: np.ndarray,
                      chunk_items: int) -> dict[int, list[int]]:
    """Item -> at most ``MAX_RELEVANT`` items that users look at beside it, for the test.

    `trained` is ``HoldOut.trained``; half of the other items are triggers.
    """
    world = neighbours.world
    scale = min(1.0, FULL_TRIGGER_ITEMS / world.num_items)
    triggers = {}
    for start in range(0, world.num_items, chunk_items):
        items = np.arange(start, min(start + chunk_items, world.num_items))
        draws = uniform(world.seed, TRIGGER_STREAM, items, 2 + 2 * MAX_RELEVANT)
        rate = np.where(trained[items], TRIGGER_ITEMS, UNSEEN_TRIGGER_ITEMS)
        chosen = draws[:, 0] < rate * scale
        items, draws = items[chosen], draws[chosen]
        spus = world.item_spus(items)
        found = np.stack([
            neighbours.draw(spus, draws[:, 2 + 2 * n], draws[:, 3 + 2 * n],
                            (TRIGGER_SAME_SPU, 1.0, 1.0))
            for n in range(MAX_RELEVANT)], axis=1)
        counts = 1 + (MAX_RELEVANT * draws[:, 1]).astype(np.int64)
        for item, row, count in zip(items.tolist(), found.tolist(), counts.tolist()):
            relevant = [other for other in dict.fromkeys(row[:count]) if other != item]
            if relevant:
                triggers[item] = relevant
    return triggers


def user_sequences(neighbours: Neighbours, trained: np.ndarray, held_out: dict[int, list[int]],
                   chunk_items: int):
    """Yields (user number, item numbers in time order); no held-out pair is in one sequence.

    Items that are not `trained` are never in a sequence, and a sequence has at least two items.
    """
    world = neighbours.world
    apart: dict[int, set[int]] = {}
    for item, others in held_out.items():
        for other in others:
            apart.setdefault(item, set()).add(other)
            apart.setdefault(other, set()).add(item)
    users = int(world.num_items * USERS_PER_ITEM)
    for start in range(0, users, chunk_items):
        numbers = np.arange(start, min(start + chunk_items, users))
        draws = uniform(world.seed, USER_STREAM, numbers, 1 + 3 * MAX_LENGTH)
        lengths = MIN_LENGTH + ((MAX_LENGTH + 1 - MIN_LENGTH) * draws[:, 0] ** 2).astype(np.int64)
        home = np.zeros(len(numbers), np.int32)
        steps = []
        for n in range(MAX_LENGTH):
            fresh, scope, u = draws[:, 1 + 3 * n], draws[:, 2 + 3 * n], draws[:, 3 + 3 * n]
            if n == 0:
                item = (u * world.num_items).astype(np.int64)
            else:
                scope = np.where(fresh < NEW_INTEREST, 1.0, scope)
                item = neighbours.draw(home, scope, u, (SAME_SPU, SAME_LEAF, SAME_GROUP))
            spus = world.item_spus(item)
            home = spus if n == 0 else np.where(scope >= SAME_GROUP, spus, home)
            steps.append(item)
        rows = np.stack(steps, axis=1)
        seen = trained[rows]
        for user, row, keep, length in zip(numbers.tolist(), rows.tolist(), seen.tolist(),
                                           lengths.tolist()):
            sequence: list[int] = []
            for item, is_seen in zip(row[:length], keep):
                if not is_seen or item in sequence:
                    continue
                if item in apart and not apart[item].isdisjoint(sequence):
                    continue
                sequence.append(item)
            if len(sequence) > 1:
                yield user, sequence
