"""Views as a click model sees them: what was clicked, what was not, and the user's past.

The marketplaces we simulate log no impressions, so what was shown and not clicked is drawn: other
items that were viewed in the same part of the data, hence as popular as the clicked ones.
"""

import dataclasses

import numpy as np

from gsid_jax.errors import UserError
from tools.features.interest import interest_units

SPLITS = ("train", "validation", "test")
TRIES = 20


@dataclasses.dataclass(frozen=True)
class Events:
    """Clicks with a past, one row each: a user's last view is for the test, the one before it for
    validation, the earlier ones for training."""

    item: np.ndarray  # int64 [E], the item clicked
    split: np.ndarray  # int64 [E], place in SPLITS
    past_event: np.ndarray  # int64 [V], whose past; the views of one event's past, oldest first
    past_item: np.ndarray  # int64 [V]
    past_age: np.ndarray  # int64 [V], 0: the view right before the event
    sequence: np.ndarray  # int64 [S], all views user by user
    sequence_start: np.ndarray  # int64 [E], where the event's user begins in it
    sequence_stop: np.ndarray  # int64 [E]

    def units(self, label_N: np.ndarray, top: int, half_life: float
              ) -> tuple[np.ndarray, np.ndarray]:
        """Interest units of each event's past: labels int32 [E, top], weights float32 [E, top]."""
        return interest_units(self.past_event, self.past_age, label_N[self.past_item],
                              len(self.item), top, half_life)


def events_of(sequence: np.ndarray, start: np.ndarray) -> Events:
    """Events of users' sequences: items int [S], and where each user begins, int [U + 1]."""
    lengths = np.diff(start)
    if not (lengths >= 3).any():
        raise UserError(f"the sequences have at most {lengths.max(initial=0)} views a user; "
                        "expected users with 3 or more, to train, validate and test on: build the "
                        "dataset with --sequences")
    place = np.arange(len(sequence)) - np.repeat(start[:-1], lengths)
    left = np.repeat(lengths, lengths) - 1 - place
    event = np.flatnonzero(place >= 1)  # the first view has no past
    split = np.maximum(2 - left[event], 0)
    age = np.concatenate([np.arange(n - 1, -1, -1) for n in place[event]])
    past_event = np.repeat(np.arange(len(event)), place[event])
    user = np.repeat(np.arange(len(lengths)), lengths)[event]
    return Events(sequence[event], split, past_event, sequence[event[past_event] - 1 - age], age,
                  sequence, start[user], start[user + 1])


def draw_negatives(events: Events, count: int, seed: int, place_N: np.ndarray | None = None
                   ) -> np.ndarray:
    """Items that were not clicked, int64 [E, count], drawn from the clicks of the same split.

    With ``place_N`` int [N] they share the place (a category) of the clicked item where one that
    the user never viewed is found; a draw that the user viewed is drawn again, ``TRIES`` times.
    """
    random = np.random.default_rng(seed)
    negatives = np.empty((len(events.item), count), np.int64)
    for split in range(len(SPLITS)):
        rows = np.flatnonzero(events.split == split)
        pool = events.item[rows]
        where = np.zeros(len(pool), np.int64) if place_N is None else place_N[pool]
        order = np.argsort(where, kind="stable")
        low, high = np.searchsorted(where[order], where), np.searchsorted(where[order], where,
                                                                         side="right")
        pool = pool[order]

        def draw(chosen, tries, low=low, high=high, pool=pool):
            # After half of the tries the whole pool is drawn from: a small place may be all viewed.
            wide = tries >= TRIES // 2
            bottom, top = (0, len(pool)) if wide else (low[chosen], high[chosen])
            return pool[random.integers(bottom, top, len(chosen))]

        for column in range(count):
            todo = np.arange(len(rows))
            for tries in range(TRIES):
                negatives[rows[todo], column] = draw(todo, tries)
                todo = todo[_viewed(events, rows[todo], negatives[rows[todo], column])]
                if not len(todo):
                    break
    return negatives


def _viewed(events: Events, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Whether each event's user ever viewed the item, bool [n]."""
    found = np.zeros(len(rows), bool)
    start, stop = events.sequence_start[rows], events.sequence_stop[rows]
    for offset in range(int((stop - start).max(initial=0))):
        place = np.minimum(start + offset, stop - 1)
        found |= events.sequence[place] == items
    return found
