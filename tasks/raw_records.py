"""What a good record of each raw file is, and the texts made of it.

The parsers take one record as a dictionary and return it in its checked form, or raise BadRecord.
The schema for users is in ``docs/data_format.md``.
"""

import dataclasses
import datetime
import math
import time
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from tasks.raw_files import BadRecord

ITEM_FIELDS = ("item_id", "title", "description", "category", "attributes", "spu", "conversions",
               "timestamp")
COUNT_FIELDS = ("click", "contact", "purchase")
ACTIONS = {"click": 0, "contact": 1, "interaction": 1, "purchase": 2, "transaction": 2}
INTERACTION_FIELDS = ("query", "item_id", *COUNT_FIELDS, "action", "count", "timestamp", "user_id")
SEQUENCE_FIELDS = ("user_id", "items", "timestamps")
PAIR_FIELDS = ("item_id", "similar", "scores")
Q2I_FIELDS = ("query", "item_ids")
I2I_FIELDS = ("item_id", "item_ids")
TRUTH_FIELDS = ("item_id", "category", "spu")
MAX_COUNT = 10**9  # per record; keeps sums far from the limits of int64
MAX_TEXT = 100_000  # characters of a title, a description, an id or a query
FUTURE = 86400  # seconds that a clock may be ahead of ours
CONTROLS = {code: " " for code in (*range(32), *range(127, 160))}


def normalise(text: str) -> str:
    """Any text as models read it: Unicode NFKC, control characters and white space one space.

    Letter case is kept. Applied to its own result it changes nothing.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.translate(CONTROLS).split())


def item_text(title: str, description: str | None = None) -> str:
    """The text of an item, as every model reads it: title, then description, normalised."""
    return normalise(f"{title} {description or ''}")


def normalise_query(query: str) -> str:
    """The text of a query, normalised as an item's."""
    return normalise(query)


@dataclasses.dataclass(frozen=True)
class Item:
    """One listing. ``category`` and ``attributes`` are None if the seller gave none."""

    item_id: str
    title: str
    text: str
    category: list[str] | None
    attributes: dict[str, str] | None
    spu: str | None = None
    conversions: int | None = None
    timestamp: int | None = None  # seconds since 1970


@dataclasses.dataclass(frozen=True)
class Interaction:
    """What users did with one item after one query; counts by ``COUNT_FIELDS``."""

    query: str
    item_index: int
    counts: tuple[int, int, int]
    timestamp: int | None = None  # seconds since 1970
    user_id: str | None = None


def parse_item(record: Mapping[str, Any], known: Mapping[str, int]) -> Item:
    """Checks a record of the items file; ``known`` are the ids of the items before it."""
    item_id = _string(record, "item_id")
    if item_id in known:
        raise BadRecord("duplicate item id", f"item_id {item_id!r} again", "each item once",
                        "Remove one of the two records.")
    title = _string(record, "title")
    description = record.get("description")
    if description is not None:
        description = _string(record, "description", may_be_empty=True)
    text = item_text(title, description)
    if not text:
        raise BadRecord("empty text", f"{title!r} for 'title'", "some text",
                        "Fill in 'title' or remove the record.")
    spu, conversions = record.get("spu"), record.get("conversions")
    return Item(item_id, normalise(title), text, _category(record),
                _attributes(record.get("attributes")),
                None if spu is None else _string(record, "spu"),
                None if conversions is None else _count(record, "conversions"),
                _timestamp(record))


def _category(record: Mapping[str, Any]) -> list[str] | None:
    """The seller's path, of any depth; a name that comes back further down makes it a circle."""
    if record.get("category") is None:
        return None
    path = _strings(record, "category", may_be_empty=True)
    steps = [name for place, name in enumerate(path) if not place or name != path[place - 1]]
    if len(set(steps)) < len(steps):
        raise BadRecord("cyclic category", f"{' > '.join(path)!r}", "a path without a circle",
                        "Correct 'category' or remove it.")
    return path or None


def parse_interaction(record: Mapping[str, Any], known: Mapping[str, int]) -> Interaction:
    """Checks a record of the interactions file; ``known`` maps item_id to item_index."""
    if record.get("action") is None:
        counts = tuple(_count(record, field) for field in COUNT_FIELDS)
    else:
        counts = _action_counts(record)
    if not any(counts):
        raise BadRecord("bad count", ", ".join(f"{field} 0" for field in COUNT_FIELDS),
                        "at least one count above 0",
                        'Remove the record, or give it a count such as "click": 1.')
    item = _index(_string(record, "item_id"), "item_id", known)
    user = record.get("user_id")
    return Interaction(parse_query(record), item, counts, _timestamp(record),
                       None if user is None else _string(record, "user_id"))


def _action_counts(record: Mapping[str, Any]) -> tuple[int, int, int]:
    """Counts of a record with 'action', one of ``ACTIONS``, and 'count', by default 1."""
    action = _string(record, "action")
    if action not in ACTIONS:
        raise BadRecord("unknown action", f"{action!r} for 'action'", f"one of {', '.join(ACTIONS)}",
                        "Correct 'action' or remove the record.")
    counts = [0, 0, 0]
    counts[ACTIONS[action]] = 1 if record.get("count") is None else _count(record, "count")
    return tuple(counts)


def parse_sequence(record: Mapping[str, Any], known: Mapping[str, int]) -> tuple[str, list[int]]:
    """Checks a user's sequence: (user_id, item indices in time order)."""
    return _string(record, "user_id"), _indices(record, "items", known)


def parse_timed_sequence(record: Mapping[str, Any], known: Mapping[str, int]
                         ) -> tuple[str, list[int], list[int] | None]:
    """As ``parse_sequence``, with the seconds of each item if the record has 'timestamps'."""
    user, items = parse_sequence(record, known)
    times = record.get("timestamps")
    if times is None:
        return user, items, None
    if not isinstance(times, (list, tuple)) or len(times) != len(items):
        raise BadRecord("bad timestamp", f"{_shown(times)} for {len(items)} items",
                        "a list with a time for each item", "Correct 'timestamps' or remove it.")
    seconds = [_timestamp({"timestamp": each}) for each in times]
    if None in seconds:
        raise BadRecord("bad timestamp", "null in 'timestamps'", "a time for each item",
                        "Correct 'timestamps' or remove it.")
    return user, items, seconds


def parse_pairs(record: Mapping[str, Any], known: Mapping[str, int]
                ) -> tuple[int, list[int], list[float]]:
    """Checks a record of similar items: (item index, indices of similar items, their scores)."""
    item = _index(_string(record, "item_id"), "item_id", known)
    similar, scores = _indices(record, "similar", known), record.get("scores")
    if scores is None:
        scores = [1.0] * len(similar)
    if not isinstance(scores, (list, tuple)) or len(scores) != len(similar) or not all(
            isinstance(score, (int, float)) and 0 <= score < math.inf for score in scores):
        raise BadRecord("bad score", f"{_shown(scores)} for 'scores'",
                        f"a list of {len(similar)} numbers from 0 up", "Correct 'scores'.")
    return item, similar, [float(score) for score in scores]


def parse_q2i(record: Mapping[str, Any], known: Mapping[str, int]) -> tuple[str, list[int]]:
    """Checks a held-out search: (normalised query, item indices)."""
    return parse_query(record), _indices(record, "item_ids", known)


def parse_i2i(record: Mapping[str, Any], known: Mapping[str, int]) -> tuple[int, list[int]]:
    """Checks a held-out item trigger: (item index, indices of similar items)."""
    item = _index(_string(record, "item_id"), "item_id", known)
    return item, _indices(record, "item_ids", known)


def truth_parser(known: Mapping[str, int]
                 ) -> Callable[[Mapping[str, Any]], tuple[int, list[str], str]]:
    """Returns a parser of the truth file: (item index, category path, SPU); each item once."""
    found: set[str] = set()

    def parse(record: Mapping[str, Any]) -> tuple[int, list[str], str]:
        index = _index(_string(record, "item_id"), "item_id", known)
        category, spu = _strings(record, "category"), _string(record, "spu")
        if record["item_id"] in found:
            raise BadRecord("duplicate item id", f"item_id {record['item_id']!r} again",
                            "each item once", "Remove one of the two records.")
        found.add(record["item_id"])
        return index, category, spu

    return parse


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "..."


def _wrong_type(field: str, value: Any, expected: str) -> BadRecord:
    return BadRecord("wrong type", f"{type(value).__name__} {_shown(value)} for {field!r}", expected,
                     f"Write {field!r} as {expected}.")


def _string(record: Mapping[str, Any], field: str, may_be_empty: bool = False) -> str:
    value = record.get(field)
    if value is None:
        present = ", ".join(repr(name) for name, given in record.items() if given is not None)
        raise BadRecord("missing field", f"no {field!r} (fields given: {present or 'none'})",
                        f"a string in {field!r}", f"Add {field!r}.")
    return _checked_string(value, field, may_be_empty)


def _checked_string(value: Any, field: str, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise _wrong_type(field, value, "a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # a lone surrogate, written in JSON as \ud800
        raise BadRecord("not UTF-8", f"half a character, {value[error.start]!a}, in {field!r}",
                        "UTF-8 text", "Write the whole character.") from None
    if len(value) > MAX_TEXT:
        raise BadRecord("over-long text", f"{len(value):,} characters in {field!r}",
                        f"at most {MAX_TEXT:,}", f"Shorten {field!r} or remove the record.")
    if not may_be_empty and not value.strip():
        raise BadRecord("empty text", f"{value!r} for {field!r}", "some text",
                        f"Fill in {field!r} or remove the record.")
    return value


def _strings(record: Mapping[str, Any], field: str, may_be_empty: bool = False) -> list[str]:
    value = record.get(field)
    if value is None:
        _string(record, field)  # raises: the field is missing
    if not isinstance(value, (list, tuple)):
        raise _wrong_type(field, value, "a list of strings")
    if not value and not may_be_empty:
        raise BadRecord("empty list", f"[] for {field!r}", "at least one value",
                        f"Fill in {field!r} or remove the record.")
    return [_checked_string(each, field) for each in value]


def parse_query(record: Mapping[str, Any]) -> str:
    """Checks the field 'query' of a record and returns it normalised."""
    query = normalise_query(_string(record, "query"))
    if not query:
        raise BadRecord("empty text", f"{record['query']!r} for 'query'", "some text",
                        "Fill in 'query' or remove the record.")
    return query


def _index(item_id: str, field: str, known: Mapping[str, int]) -> int:
    index = known.get(item_id)
    if index is None:
        raise unknown_item(item_id, field)
    return index


def unknown_item(item_id: str, field: str) -> BadRecord:
    """What is wrong with a record that names an item we do not have."""
    return BadRecord("unknown item", f"{item_id!r} in {field!r}", "an item_id of the items file",
                     "Add the item to the items file or remove the record.")


def _indices(record: Mapping[str, Any], field: str, known: Mapping[str, int]) -> list[int]:
    return [_index(item_id, field, known) for item_id in _strings(record, field)]


def _count(record: Mapping[str, Any], field: str) -> int:
    value = record.get(field)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type(field, value, "a whole number from 0 up")
    if value != value // 1 or not 0 <= value <= MAX_COUNT:
        raise BadRecord("bad count", f"{value!r} for {field!r}",
                        f"a whole number from 0 to {MAX_COUNT:,}", "Correct the count.")
    return int(value)


def _attributes(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(each, tuple) and len(each) == 2
                                       for each in value):
        value = dict(value)  # a Parquet map
    if not isinstance(value, Mapping):
        raise _wrong_type("attributes", value, "an object of strings")
    given = {name: text for name, text in value.items() if text is not None}
    for name, text in given.items():
        _checked_string(name, "attributes")
        _checked_string(text, f"attributes.{name}", may_be_empty=True)
    return given or None


def _timestamp(record: Mapping[str, Any], field: str = "timestamp") -> int | None:
    """Seconds since 1970 of a number (s, ms or us), an ISO 8601 text or a date; None if absent."""
    value = record.get(field)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    expected = "seconds or milliseconds since 1970, or a time such as 2024-05-01T12:00:00Z"
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise BadRecord("bad timestamp", f"{_shown(value)} for {field!r}", expected,
                            f"Correct {field!r} or remove it.") from None
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if isinstance(value, datetime.datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)).timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type(field, value, expected)
    for limit, factor in ((10**14, 10**6), (10**11, 10**3)):
        if abs(value) >= limit:
            value = value / factor
            break
    if not 0 <= value <= latest():
        raise BadRecord("bad timestamp", f"{_shown(record[field])} for {field!r}",
                        "a time from 1970 to now", f"Correct {field!r} or remove it.")
    return int(value)


def latest() -> float:
    """The latest time that a record may have, in seconds: now, and what clocks may differ."""
    return time.time() + FUTURE
