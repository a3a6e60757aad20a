"""What inference reads: files of every kind, and every fault in them."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax import infer_input
from gsid_jax.errors import UserError

ITEMS = [{"item_id": "a", "title": "Used  phone", "description": "fine"}, {"title": "lamp"}]
GOOD = [(0, "a", "Used phone fine"), (1, "1", "lamp")]


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def rows(source):
    return [tuple(row) for row in source.read()]


def test_json_lines_plain_and_gzipped(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines(ITEMS))
    with gzip.open(tmp_path / "x.jsonl.gz", "wt") as file:
        file.write(lines(ITEMS))
    for name in ("x.jsonl", "x.jsonl.gz"):
        source = infer_input.open_file(tmp_path / name, "item", None)
        assert rows(source) == GOOD and source.rows == 2 and source.blank == 0


def test_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist(ITEMS), tmp_path / "x.parquet")
    assert rows(infer_input.open_file(tmp_path / "x.parquet", "item", None)) == GOOD


def test_other_fields_do_not_matter(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines([{**item, "attributes": {"n": 6.0}, "category": 3}
                                             for item in ITEMS]))
    assert rows(infer_input.open_file(tmp_path / "x.jsonl", "item", None)) == GOOD


def test_queries_are_normalised_as_in_training(tmp_path):
    (tmp_path / "q.jsonl").write_text(lines([{"query": " red　ｓｈｏｅｓ "}]), encoding="utf-8")
    assert rows(infer_input.open_file(tmp_path / "q.jsonl", "query", None)) == [
        (0, "red shoes", "red shoes")]


def test_text_lines(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfone  phone\ntwo\n")
    assert rows(infer_input.open_file(tmp_path / "x.txt", "item", None)) == [
        (0, "0", "one phone"), (1, "1", "two")]
    assert rows(infer_input.open_file(tmp_path / "x.txt", "query", None)) == [
        (0, "one phone", "one phone"), (1, "two", "two")]


def test_the_same_id_twice_gives_two_rows(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines([ITEMS[0], ITEMS[0]]))
    assert len(rows(infer_input.open_file(tmp_path / "x.jsonl", "item", None))) == 2


def test_blank_lines_are_counted_and_rows_keep_their_line(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines(ITEMS[:1]) + "\n" + lines(ITEMS[1:]) + "\n\n")
    source = infer_input.open_file(tmp_path / "x.jsonl", "item", None)
    assert [row[0] for row in rows(source)] == [0, 2]
    assert (source.rows, source.blank) == (3, 1)


@pytest.mark.parametrize("name, kind, bad, message", [
    ("x.jsonl", "item", b"{not json}", "x.jsonl, line 2: malformed JSON"),
    ("x.jsonl", "item", b'{"title": " "}', "line 2: empty text: got ' ' for 'title'"),
    ("x.jsonl", "item", b'{"name": "lamp"}',
     r"line 2: missing field: got no 'title' \(fields given: name\)"),
    ("x.jsonl", "item", b'{"title": "\xff"}', "line 2: not UTF-8: got byte 0xff"),
    ("x.jsonl", "query", b'{"query": ""}', "line 2: empty text"),
    ("x.txt", "query", b"  ", "x.txt, line 2: empty text: got a blank line"),
    ("x.txt", "item", b"caf\xe9", "x.txt, line 2: not UTF-8: got byte 0xe9"),
])
def test_a_bad_line_is_named_or_set_aside(tmp_path, name, kind, bad, message):
    good = b'{"title": "t", "query": "q"}' if name.endswith("jsonl") else b"good"
    (tmp_path / name).write_bytes(good + b"\n" + bad + b"\n" + good + b"\n")
    with pytest.raises(UserError, match=message + ".*--skip_invalid"):
        infer_input.open_file(tmp_path / name, kind, None)
    source = infer_input.open_file(tmp_path / name, kind, tmp_path / "rejects.jsonl")
    assert [row[0] for row in rows(source)] == [0, 2]
    assert (source.rows, source.blank, sum(source.rejects.counts.values())) == (3, 0, 1)
    rejected = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [line["line"] for line in rejected] == [2]


def test_no_rejects_file_without_rejects(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines(ITEMS))
    infer_input.open_file(tmp_path / "x.jsonl", "item", tmp_path / "rejects.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_bad_last_line_counts(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines(ITEMS) + "{\n")
    source = infer_input.open_file(tmp_path / "x.jsonl", "item", tmp_path / "r.jsonl")
    assert (source.rows, source.blank) == (3, 0)


@pytest.mark.parametrize("name, content, message", [
    ("x.jsonl", "", "is empty: got 0 good records"),
    ("x.txt", "", "is empty: got 0 good lines"),
    ("x.xls", "a", "has an unknown type: got suffix '.xls'"),
    ("none.jsonl", None, "none.jsonl does not exist"),
    ("none.txt", None, "none.txt does not exist"),
])
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        infer_input.open_file(tmp_path / name, "item", None)


def test_contents_decide_the_fingerprint(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(lines(ITEMS))
    before = infer_input.open_file(path, "item", None).fingerprint
    path.write_text(lines(ITEMS[:1]))
    assert infer_input.open_file(path, "item", None).fingerprint != before


def test_files_and_tasks_are_told_apart(tmp_path):
    assert infer_input.is_file("new.jsonl") and infer_input.is_file("./x")
    assert infer_input.is_file(str(tmp_path))
    assert not infer_input.is_file("gsid_items")


def test_unknown_tasks_are_refused():
    with pytest.raises(UserError, match="neither a file nor a SeqIO task.*gsid_items"):
        infer_input.open_task("gsid_itms", "train", 16)
