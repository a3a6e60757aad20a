"""Reads who looked at what: user sequences, or events with a user."""

import array

import numpy as np

from gsid_jax.errors import UserError
from tasks import raw_records
from tasks.raw_files import Rejects, Source, read_records
from tasks.swing import NO_TIME, SwingSettings, Views


class Numbering(dict):
    """Numbers what it is asked for, by first appearance."""

    def get(self, name: str, default: object = None) -> int:
        del default  # everything has a number
        return self.setdefault(name, len(self))


def read_views(source: Source, settings: SwingSettings, rejects: Rejects) -> Views:
    """Reads sequences (kind 'sequences') or events (kind 'interactions') into views.

    Several views of an item by a user are one, the latest. UserError for records without a user, or
    without a time where a window is asked for.
    """
    users, items = Numbering(), Numbering()
    user, item, time = array.array("q"), array.array("q"), array.array("q")
    untimed = 0
    for name, viewed, times in rows(source, items, rejects):
        untimed += times is None
        for place, number in enumerate(viewed):
            seconds = NO_TIME if times is None else times[place]
            if times is None and not (settings.since or settings.until) or (
                    times is not None and settings.in_window(seconds)):
                user.append(users.get(name))
                item.append(number)
                time.append(place if times is None else seconds)
    if untimed and (settings.since or settings.until):
        raise UserError(f"--since or --until is given, but {untimed:,} records of {source} have no "
                        "time; expected 'timestamps' in sequences or 'timestamp' in events: add "
                        "them, or leave the window out")
    if not user:
        raise UserError(f"{source} has no view between since={settings.since} and until="
                        f"{settings.until}; expected at least one: correct the window")
    names = list(items)
    order = sorted(range(len(names)), key=names.__getitem__)
    number = np.empty(len(names), np.int64)
    number[order] = np.arange(len(names))
    views = Views(np.array(user, np.int64), number[np.array(item, np.int64)],
                  np.array(time, np.int64), list(users), [names[place] for place in order])
    views = views.where(np.lexsort((-views.time, views.item, views.user)))
    keys = views.user * len(names) + views.item
    return views.where(np.concatenate([[True], keys[1:] != keys[:-1]]))


def rows(source: Source, items: Numbering, rejects: Rejects):
    """Yields (user, item numbers, seconds or None) for each record."""
    if source.kind == "sequences":
        yield from read_records(source, "sequences", raw_records.SEQUENCE_FIELDS,
                                lambda record: raw_records.parse_timed_sequence(record, items),
                                rejects)
        return
    for found in read_records(source, "interactions", raw_records.INTERACTION_FIELDS,
                              lambda record: parse_event(record, items), rejects):
        yield found


def parse_event(record, items: Numbering) -> tuple[str, list[int], list[int] | None]:
    """Checks an event of a user."""
    found = raw_records.parse_interaction(record, items)
    if found.user_id is None:
        raise raw_records.BadRecord("missing field", "no 'user_id'", "a string in 'user_id'",
                                    "Add 'user_id'.")
    return (found.user_id, [found.item_index],
            None if found.timestamp is None else [found.timestamp])
