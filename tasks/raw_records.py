"""What a good record of each raw file is, and the texts made of it.

The parsers take one record as a dictionary and return it in its checked form, or raise BadRecord.
The schema for users is in ``docs/data_format.md``.
"""

import dataclasses
import math
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from tasks.raw_files import BadRecord

ITEM_FIELDS = ("item_id", "title", "description", "category", "attributes")
COUNT_FIELDS = ("click", "contact", "purchase")
INTERACTION_FIELDS = ("query", "item_id", *COUNT_FIELDS)
SEQUENCE_FIELDS = ("user_id", "items")
Q2I_FIELDS = ("query", "item_ids")
I2I_FIELDS = ("item_id", "item_ids")
TRUTH_FIELDS = ("item_id", "category", "spu")
MAX_COUNT = 10**9  # per record; keeps sums far from the limits of int64


def item_text(title: str, description: str | None = None) -> str:
    """The text of an item, as every model reads it: title, then description; single spaces."""
    return " ".join(f"{title} {description or ''}".split())


def normalise_query(query: str) -> str:
    """The text of a query: Unicode NFKC, single spaces, none at the ends. Letter case is kept."""
    return " ".join(unicodedata.normalize("NFKC", query).split())


@dataclasses.dataclass(frozen=True)
class Item:
    """One listing. ``category`` and ``attributes`` are None if the seller gave none."""

    item_id: str
    title: str
    text: str
    category: list[str] | None
    attributes: dict[str, str] | None


@dataclasses.dataclass(frozen=True)
class Interaction:
    """What users did with one item after one query; counts by ``COUNT_FIELDS``."""

    query: str
    item_index: int
    counts: tuple[int, int, int]


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
    category = record.get("category")
    if category is not None:
        category = _strings(record, "category", may_be_empty=True) or None
    return Item(item_id, " ".join(title.split()), item_text(title, description), category,
                _attributes(record.get("attributes")))


def parse_interaction(record: Mapping[str, Any], known: Mapping[str, int]) -> Interaction:
    """Checks a record of the interactions file; ``known`` maps item_id to item_index."""
    counts = tuple(_count(record, field) for field in COUNT_FIELDS)
    if not any(counts):
        raise BadRecord("bad count", ", ".join(f"{field} 0" for field in COUNT_FIELDS),
                        "at least one count above 0",
                        'Remove the record, or give it a count such as "click": 1.')
    item = _index(_string(record, "item_id"), "item_id", known)
    return Interaction(parse_query(record), item, counts)


def parse_sequence(record: Mapping[str, Any], known: Mapping[str, int]) -> tuple[str, list[int]]:
    """Checks a user's sequence: (user_id, item indices in time order)."""
    return _string(record, "user_id"), _indices(record, "items", known)


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
    found: set[int] = set()

    def parse(record: Mapping[str, Any]) -> tuple[int, list[str], str]:
        index = _index(_string(record, "item_id"), "item_id", known)
        category, spu = _strings(record, "category"), _string(record, "spu")
        if index in found:
            raise BadRecord("duplicate item id", f"item_id {record['item_id']!r} again",
                            "each item once", "Remove one of the two records.")
        found.add(index)
        return index, category, spu

    return parse


def _wrong_type(field: str, value: Any, expected: str) -> BadRecord:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:60] + "..."
    return BadRecord("wrong type", f"{type(value).__name__} {shown} for {field!r}", expected,
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
    return normalise_query(_string(record, "query"))


def _index(item_id: str, field: str, known: Mapping[str, int]) -> int:
    index = known.get(item_id)
    if index is None:
        raise BadRecord("unknown item", f"{item_id!r} in {field!r}",
                        "an item_id of the items file",
                        "Add the item to the items file or remove the record.")
    return index


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
