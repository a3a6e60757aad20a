"""Raw files: each kind of bad record is named with file and line, or set aside and counted."""

import gzip
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax.errors import UserError
from tasks import raw_files, raw_records

KNOWN = {"i1": 0, "i2": 1}


def parse_new_item(known):
    def parse(record):
        item = raw_records.parse_item(record, known)
        known[item.item_id] = len(known)
        return item
    return parse


def read_items(path, rejects=None):
    return list(raw_files.read_records(path, "items", raw_records.ITEM_FIELDS, parse_new_item({}),
                                       rejects or raw_files.Rejects()))


def read_interactions(path, rejects=None):
    return list(raw_files.read_records(
        path, "interactions", raw_records.INTERACTION_FIELDS,
        lambda record: raw_records.parse_interaction(record, KNOWN),
        rejects or raw_files.Rejects()))


GOOD = b'{"item_id": "i1", "title": "phone"}\n'
BAD_ITEMS = [
    (b'{"item_id": "i2", "title": }', "malformed JSON: got '.*' .*expected one JSON object per "
     "line"),
    (b'["i2"]', "malformed JSON: got '.*', expected a JSON object"),
    (b'{"item_id": "i2", "title": "caf\xe9"}', "not UTF-8: got byte 0xe9 at position 31, expected "
     "UTF-8 text. Convert"),
    (rb'{"item_id": "i2", "title": "\ud83d"}', "not UTF-8: got half a character"),
    (b'{"item_id": "i2"}', r"missing field: got no 'title' \(fields given: 'item_id'\)"),
    (b'{"item_id": "i2", "title": null}', "missing field: got no 'title'"),
    (b'{"item_id": "i2", "title": " "}', "empty text: got ' ' for 'title', expected some text. "
     "Fill in"),
    (b'{"item_id": "", "title": "a"}', "empty text: got '' for 'item_id'"),
    (b'{"item_id": 2, "title": "a"}', "wrong type: got int 2 for 'item_id', expected a string"),
    (b'{"item_id": "i1", "title": "a"}', "duplicate item id: got item_id 'i1' again, expected each "
     "item once"),
    (b'{"item_id": "i2", "title": "a", "category": "phones"}', "wrong type: got str 'phones' for "
     "'category', expected a list of strings"),
    (b'{"item_id": "i2", "title": "a", "category": ["a", ""]}', "empty text: got '' for "
     "'category'"),
    (b'{"item_id": "i2", "title": "a", "attributes": {"ram": 8}}', "wrong type: got int 8 for "
     "'attributes.ram', expected a string"),
    (b'{"item_id": "i2", "title": "a", "attributes": ["ram"]}', "wrong type: .* for 'attributes', "
     "expected an object of strings"),
]


@pytest.mark.parametrize("line, message", BAD_ITEMS)
def test_a_bad_item_is_named_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "items.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n")
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}, line 3: {message}.*"
                       "--skip_invalid"):
        read_items(path)


@pytest.mark.parametrize("line, message", [
    (b'{"query": "a", "item_id": "i9", "click": 1}', "unknown item: got 'i9' in 'item_id', "
     "expected an item_id of the items file. Add the item"),
    (b'{"query": "a", "item_id": "i1"}', "bad count: got click 0, contact 0, purchase 0, expected "
     "at least one count above 0"),
    (b'{"query": "a", "item_id": "i1", "click": -1}', "bad count: got -1 for 'click', expected a "
     "whole number from 0"),
    (b'{"query": "a", "item_id": "i1", "click": 1.5}', "bad count: got 1.5"),
    (b'{"query": "a", "item_id": "i1", "click": 1e400}', "bad count: got inf"),
    (b'{"query": "a", "item_id": "i1", "click": "3"}', "wrong type: got str '3' for 'click'"),
    (b'{"query": "a", "item_id": "i1", "click": true}', "wrong type: got bool True"),
    ('{"query": "\u3000", "item_id": "i1", "click": 1}'.encode(), "empty text"),
])
def test_a_bad_interaction_is_named_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "interactions.jsonl"
    path.write_bytes(line)
    with pytest.raises(UserError, match=f"interactions.jsonl, line 1: {message}"):
        read_interactions(path)


def test_skipped_records_are_counted_and_kept_with_their_reason(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_bytes(GOOD + b"".join(line + b"\n" for line, _ in BAD_ITEMS)
                     + b'{"item_id": "i3", "title": "last"}\n')
    rejects = raw_files.Rejects(tmp_path / "rejects.jsonl")
    assert [item.item_id for item in read_items(path, rejects)] == ["i1", "i3"]
    rejects.close()
    assert rejects.counts == {"malformed JSON": 2, "not UTF-8": 2, "missing field": 2,
                              "empty text": 3, "wrong type": 4, "duplicate item id": 1}
    assert rejects.summary() == (
        "14 bad records set aside: 1 duplicate item id, 3 empty text, 2 malformed JSON, "
        "2 missing field, 2 not UTF-8, 4 wrong type")
    lines = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [line["line"] for line in lines] == list(range(2, 2 + len(BAD_ITEMS)))
    assert lines[2]["file"] == "items.jsonl" and lines[2]["reason"] == "not UTF-8"
    assert lines[2]["raw"] == r'{"item_id": "i2", "title": "caf\xe9"}'


def test_empty_and_unreadable_files_are_refused(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_bytes(b"\n")
    with pytest.raises(UserError, match="items file .* is empty: got 0 good records and 0 bad"):
        read_items(path)
    path.write_bytes(b"{}\n{}\n")
    with pytest.raises(UserError, match="is empty: got 0 good records and 2 bad ones"):
        read_items(path, raw_files.Rejects(tmp_path / "rejects.jsonl"))
    broken = tmp_path / "items.jsonl.gz"
    broken.write_bytes(gzip.compress(GOOD * 1000)[:-20])
    with pytest.raises(UserError, match="is not complete gzip data"):
        read_items(broken, raw_files.Rejects(tmp_path / "more.jsonl"))
    parquet = tmp_path / "items.parquet"
    parquet.write_bytes(GOOD)
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_items(parquet)


def test_paths_are_checked(tmp_path):
    with pytest.raises(UserError, match="items file .*none.jsonl does not exist.*--items"):
        raw_files.check_path(tmp_path / "none.jsonl", "items")
    with pytest.raises(UserError, match="is a directory"):
        raw_files.check_path(tmp_path, "items")
    (tmp_path / "items.xlsx").write_text("a")
    with pytest.raises(UserError, match="unknown type: got suffix '.xlsx', expected one of .jsonl"):
        raw_files.check_path(tmp_path / "items.xlsx", "items")


def test_gzip_parquet_and_plain_lines_give_the_same_items(tmp_path):
    rows = [{"item_id": "i1", "title": "a", "description": None, "category": ["x", "y"],
             "attributes": {"ram": "8", "colour": None}},
            {"item_id": "i2", "title": "\ufeffb  c", "description": "d\ne", "category": None,
             "attributes": None}]
    text = "".join(json.dumps(row) + "\r\n" for row in rows).encode()
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + text)
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress(text))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    schema = pa.schema([("item_id", pa.string()), ("title", pa.string()),
                        ("description", pa.string()), ("category", pa.list_(pa.string())),
                        ("attributes", pa.map_(pa.string(), pa.string()))])
    pq.write_table(pa.Table.from_pylist(
        [row | {"attributes": row["attributes"] and list(row["attributes"].items())}
         for row in rows], schema), tmp_path / "map.parquet")
    found = [read_items(tmp_path / name)
             for name in ("bom.jsonl", "items.jsonl.gz", "items.parquet", "map.parquet")]
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0][0].attributes == {"ram": "8"}
    assert found[0][1].text == "\ufeffb c d e"


def test_parquet_names_rows_and_finds_bytes_that_are_no_text(tmp_path):
    titles = pa.array([b"a", b"caf\xe9", b"c"], pa.binary()).view(pa.string())
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": ["i1", "i2", "i3"], "title": titles}), path)
    with pytest.raises(UserError, match="items.parquet, row 2: not UTF-8: got b'caf"):
        read_items(path)
    rejects = raw_files.Rejects(tmp_path / "rejects.jsonl")
    assert [item.item_id for item in read_items(path, rejects)] == ["i1", "i3"]
    pq.write_table(pa.table({"item_id": ["i1"], "other": [1]}), path)
    with pytest.raises(UserError, match="row 1: missing field: got no 'title'"):
        read_items(path)


def test_parquet_counts_may_be_floats_with_gaps(tmp_path):
    path = tmp_path / "interactions.parquet"
    pq.write_table(pa.table({"query": ["\uff30\uff33\uff15  pro "], "item_id": ["i2"],
                             "click": [float("nan")], "contact": [2.0]}), path)
    assert read_interactions(path) == [raw_records.Interaction("PS5 pro", 1, (0, 2, 0))]
