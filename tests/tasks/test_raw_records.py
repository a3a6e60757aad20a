"""Single records: normalised texts, item lists, and each item once in the truth."""

import pytest

from tasks import raw_files, raw_records

KNOWN = {"i1": 0, "i2": 1}


def test_texts_have_single_spaces_and_queries_are_normalised():
    assert raw_records.item_text(" a\tb ", "c\n\nd ") == "a b c d"
    assert raw_records.item_text("a") == raw_records.item_text("a", "") == "a"
    assert raw_records.normalise_query("\u3000\uff30\uff33\uff15  Pro ") == "PS5 Pro"
    record = {"query": " a  b", "item_id": "i2", "click": 3, "purchase": None}
    assert raw_records.parse_interaction(record, KNOWN) == raw_records.Interaction(
        "a b", 1, (3, 0, 0))


def test_what_is_empty_is_none():
    item = raw_records.parse_item({"item_id": "i3", "title": " a  b", "description": "",
                                   "category": [], "attributes": {}}, KNOWN)
    assert item == raw_records.Item("i3", "a b", "a b", None, None)


def test_lists_of_items_must_be_known_and_not_empty():
    assert raw_records.parse_sequence({"user_id": "u", "items": ["i2", "i1"]}, KNOWN) == (
        "u", [1, 0])
    for items, reason in (([], "empty list"), (["i1", "i9"], "unknown item"), ("i1", "wrong type"),
                          (None, "missing field")):
        with pytest.raises(raw_files.BadRecord, match=reason):
            raw_records.parse_q2i({"query": "a", "item_ids": items}, KNOWN)
        with pytest.raises(raw_files.BadRecord, match=reason):
            raw_records.parse_i2i({"item_id": "i1", "item_ids": items}, KNOWN)
    parse = raw_records.truth_parser(KNOWN)
    assert parse({"item_id": "i1", "category": ["a"], "spu": "s"}) == (0, ["a"], "s")
    with pytest.raises(raw_files.BadRecord, match="duplicate item id"):
        parse({"item_id": "i1", "category": ["a"], "spu": "s"})
