"""What training does not see: chosen by hash, or by time."""

import dataclasses
import datetime
from collections.abc import Iterable, Sequence

import numpy as np

from gsid_jax.errors import UserError
from tasks import hold_out
from tasks.dataset_settings import Settings
from tasks.events import NO_TIME, Events
from tasks.pairs import Pairs


@dataclasses.dataclass
class Parted:
    """Pairs for training, and held-out queries with the items meant by them."""

    training: Pairs
    triggers: dict[int, list[int]]  # item indices by query_index


def merge(triggers: Iterable[tuple[int, Sequence[int]]]) -> dict[int, list[int]]:
    """Joins repeated triggers; each item once, in order."""
    merged: dict[int, dict[int, None]] = {}
    for trigger, items in triggers:
        merged.setdefault(trigger, {}).update(dict.fromkeys(items))
    return {trigger: list(items) for trigger, items in merged.items()}


def by_hash(pairs: Pairs, item_ids: Sequence[str], queries: Sequence[str], settings: Settings
            ) -> Parted:
    """Parts the pairs of some items and of some queries from training."""
    unseen_item, unseen_query = np.zeros(len(item_ids), bool), np.zeros(len(queries), bool)
    active = np.unique(pairs.item)
    unseen_item[active] = hold_out.choose([item_ids[index] for index in active],
                                          settings.holdout_items, settings.seed, "items")
    searched = np.unique(pairs.query)
    unseen_query[searched] = hold_out.choose([queries[index] for index in searched],
                                             settings.holdout_queries, settings.seed, "queries")
    held_out = unseen_item[pairs.item] | unseen_query[pairs.query]
    if not held_out.any() or held_out.all():
        raise UserError(
            f"{len(pairs.query):,} pairs of {len(active):,} items and {len(queries):,} queries "
            f"cannot be parted: got {int(held_out.sum()):,} held out (holdout_items="
            f"{settings.holdout_items}, holdout_queries={settings.holdout_queries}), expected some "
            "for testing and some for training: supply --q2i_test, more interactions, or other "
            "shares")
    return Parted(pairs.where(~held_out), _triggers(pairs.where(held_out)))


def by_time(events: Events, settings: Settings) -> np.ndarray:
    """Which events belong to the test, bool [E]: those at or after ``test_from``."""
    untimed = int((events.time == NO_TIME).sum())
    if untimed:
        raise UserError(f"split is 'time', but {untimed:,} of {len(events.time):,} interactions have "
                        "no timestamp; expected one in each: add 'timestamp', or pass --split=hash")
    test = events.time >= seconds(settings.test_from, "test_from")
    if not test.any() or test.all():
        raise UserError(f"--test_from={settings.test_from} puts {int(test.sum()):,} of "
                        f"{len(test):,} interactions into the test; expected some for testing and "
                        f"some for training: choose a time between {iso(events.time.min())} and "
                        f"{iso(events.time.max())}")
    return test


def held_out_pairs(training: Pairs, test: Pairs, num_queries: int) -> Parted:
    """Test pairs that training does not have."""
    known = np.isin(test.keys(num_queries), training.keys(num_queries))
    if known.all():
        raise UserError("every pair of the test period is in the training period too; expected "
                        "some that are new: choose an earlier --test_from")
    return Parted(training, _triggers(test.where(~known)))


def _triggers(test: Pairs) -> dict[int, list[int]]:
    triggers = merge((query, [item]) for query, item in zip(test.query.tolist(),
                                                            test.item.tolist()))
    return dict(sorted(triggers.items()))


def validation_items(seen: np.ndarray, item_ids: Sequence[str], first_time: np.ndarray | None,
                     settings: Settings) -> np.ndarray:
    """Items whose records are kept for the evaluation loss; bool [N].

    With ``validation_from``, those first clicked at or after it; else a share chosen by hash.
    """
    chosen = np.zeros(len(seen), bool)
    if settings.validation_from:
        chosen[:] = seen & (first_time >= seconds(settings.validation_from, "validation_from"))
        if chosen.sum() == seen.sum():
            raise UserError(f"--validation_from={settings.validation_from} leaves no item for "
                            "training; expected a later time")
        return chosen
    seen_ids = [item_ids[index] for index in np.flatnonzero(seen)]
    chosen[seen] = hold_out.choose(seen_ids, settings.validation_fraction, settings.seed,
                                   "validation")
    return chosen


def seconds(text: str, option: str) -> int:
    """Seconds since 1970 of an ISO 8601 time or a number; UserError if it is neither."""
    if text.isdigit():
        return int(text)
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"bad {option}: got {text!r}, expected a time such as 2024-05-01 or seconds "
                        f"since 1970: pass --{option}=2024-05-01") from None
    return int((time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)).timestamp())


def iso(time: int) -> str:
    """Seconds since 1970 as text."""
    return datetime.datetime.fromtimestamp(int(time), datetime.timezone.utc).isoformat()
