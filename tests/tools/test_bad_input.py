"""Bad input of every kind: a clear error or a counted reject, and no good record is ever lost."""

import contextlib
import errno
import gzip
import json
import multiprocessing
import os
import pathlib
import re
import resource
import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax.errors import UserError
from tasks import catalogue_builder, directory_lock, record_files, sidecars
from tests.tasks import raw_catalogue
from tools import build_dataset as tool
from tools.validate import validate

WHOLE_BUILDS = ("test_a_full_disk_is_an_error_and_leaves_nothing",
                "test_a_build_killed_half_way_is_no_dataset_and_the_next_is_whole")
FUTURE = int(time.time()) + 10 * 86400


def item(**changed) -> bytes:
    return json.dumps({"item_id": "new", "title": "a new thing"} | changed).encode()


def event(**changed) -> bytes:
    return json.dumps({"query": "apple", "item_id": "i1", "click": 1} | changed).encode()


BAD_ITEMS = {
    "cut off": (item()[:-5], "malformed JSON"),
    "a list": (b'["new", "a thing"]', "malformed JSON"),
    "two records in a line": (item() + item(), "malformed JSON"),
    "raw NUL byte": (item().replace(b"a new", b"a\0new"), "malformed JSON"),
    "nested without end": (b'{"item_id": ' + b"[" * 100_000, "malformed JSON"),
    "latin-1 among UTF-8": ('{"item_id": "new", "title": "café"}'.encode("latin-1"), "not UTF-8"),
    "half a character": (rb'{"item_id": "new", "title": "\ud83d"}', "not UTF-8"),
    "no title": (b'{"item_id": "new"}', "missing field"),
    "null title": (item(title=None), "missing field"),
    "no id": (b'{"title": "a"}', "missing field"),
    "blank title": (item(title=" \t"), "empty text"),
    "control characters only": (item(title="\u0001\u0000"), "empty text"),
    "empty id": (item(item_id=""), "empty text"),
    "id as a number": (item(item_id=7), "wrong type"),
    "title as a truth value": (item(title=True), "wrong type"),
    "nested title": (item(title={"text": "a"}), "wrong type"),
    "list as description": (item(description=["a"]), "wrong type"),
    "10 MB title": (item(title="x" * 10_000_000), "over-long text"),
    "id again, other text": (item(item_id="i3"), "duplicate item id"),
    "category as text": (item(category="phones"), "wrong type"),
    "category with a number": (item(category=["a", 1]), "wrong type"),
    "category with a blank": (item(category=["a", " "]), "empty text"),
    "category in a circle": (item(category=["a", "b", "a"]), "cyclic category"),
    "attributes as a list": (item(attributes=["ram"]), "wrong type"),
    "attribute as a number": (item(attributes={"ram": 8}), "wrong type"),
    "negative conversions": (item(conversions=-1), "bad count"),
    "made in the future": (item(timestamp=FUTURE), "bad timestamp"),
    "made before 1970": (item(timestamp=-5), "bad timestamp"),
    "time that is none": (item(timestamp="yesterday"), "bad timestamp"),
    "spu as a list": (item(spu=["a"]), "wrong type"),
}
BAD_EVENTS = {
    "negative count": (event(click=-3), "bad count"),
    "half a click": (event(click=1.5), "bad count"),
    "infinite clicks": (event().replace(b'"click": 1', b'"click": 1e400'), "bad count"),
    "NaN clicks": (event(click=float("nan")), "bad count"),
    "no count": (b'{"query": "apple", "item_id": "i1"}', "bad count"),
    "count as text": (event(click="3"), "wrong type"),
    "unknown item": (event(item_id="nobody"), "unknown item"),
    "item id as a number": (event(item_id=1), "wrong type"),
    "unknown action": (event(action="stare"), "unknown action"),
    "action with a negative count": (event(action="click", count=-1), "bad count"),
    "empty query": (event(query=""), "empty text"),
    "query of wide spaces": (event(query="\u3000\u3000"), "empty text"),
    "over-long query": (event(query="x" * 200_000), "over-long text"),
    "event of the future": (event(timestamp=FUTURE), "bad timestamp"),
    "milliseconds of the future": (event(timestamp=FUTURE * 1000), "bad timestamp"),
    "user as a number": (event(user_id=5), "wrong type"),
}


@pytest.fixture(autouse=True)
def tables_only(monkeypatch, request):
    """Leaves the TFDS files out where a test is about records."""
    if request.node.originalname not in WHOLE_BUILDS:
        monkeypatch.setattr(catalogue_builder, "build_catalogue", lambda *_: {})


def inject(path: pathlib.Path, line: bytes) -> None:
    """Puts a line among the good ones."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:20], line + b"\n", *lines[20:]]))


def sources(tmp_path, **changed):
    return raw_catalogue.write(tmp_path / "raw", "items", "interactions", "q2i_test", **changed)


def built(tmp_path, given, **settings) -> tuple[dict, dict]:
    """(tables, record) of a build."""
    tool.build_dataset(**given, output_dir=tmp_path / "data", **settings)
    tables = {path.stem: pq.read_table(path).to_pydict()
              for path in (tmp_path / "data").glob("*.parquet")}
    return tables, json.loads((tmp_path / "data" / "dataset.json").read_text())


@pytest.mark.parametrize("kind, name", [("items", name) for name in BAD_ITEMS]
                         + [("interactions", name) for name in BAD_EVENTS])
def test_a_bad_record_is_named_or_counted_and_costs_no_other(tmp_path, capsys, kind, name):
    line, reason = (BAD_ITEMS if kind == "items" else BAD_EVENTS)[name]
    given = sources(tmp_path)
    inject(given[kind], line)
    with pytest.raises(UserError, match=f"^{re.escape(str(given[kind]))}, line 21: {reason}: got .*"
                       "expected .*--skip_invalid"):
        built(tmp_path, given)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    tables, record = built(tmp_path, given, skip_invalid=True)
    assert record["rejected"] == {reason: 1}
    assert tables["items"]["item_id"] == [f"i{number}" for number in range(60)]
    assert record["counts"]["interactions"] == 174
    rejects = (tmp_path / "data" / "rejects.jsonl").read_text().splitlines()
    assert len(rejects) == 1 and json.loads(rejects[0])["line"] == 21 and len(rejects[0]) < 5000
    report = validate(given)
    assert report[kind]["rejected"] == {reason: 1} and report["items"]["records"] == 60
    assert f"{kind}.jsonl, line 21: {reason}" in report[kind]["examples"][reason][0]
    assert report["interactions"]["records"] == 174
    assert "1 bad record set aside" in capsys.readouterr().err


def rewritten(path: pathlib.Path, data: bytes) -> pathlib.Path:
    path.write_bytes(data)
    return path


GOOD_CHANGES = {
    "byte order mark": lambda path, data: rewritten(path, b"\xef\xbb\xbf" + data),
    "CRLF": lambda path, data: rewritten(path, data.replace(b"\n", b"\r\n")),
    "blank lines": lambda path, data: rewritten(path, data.replace(b"\n", b"\n\n  \n")),
    "no line end at the end": lambda path, data: rewritten(path, data.rstrip(b"\n")),
    "fields we do not know": lambda path, data: rewritten(path, data.replace(
        b"{", b'{"shop": {"id": 1}, ', 1)),
    "gzip": lambda path, data: rewritten(path.with_suffix(".jsonl.gz"), gzip.compress(data)),
    "zstd": lambda path, data: rewritten(path.with_suffix(".jsonl.zst"), pa.compress(
        data, "zstd", asbytes=True)),
    "escaped control characters": lambda path, data: rewritten(path, data.replace(
        b"apple phone", rb"apple\u0000 \u0007phone")),
    "wide characters": lambda path, data: rewritten(path, data.replace(
        b"apple phone", "\uff41\uff50\uff50\uff4c\uff45\u3000phone".encode())),
}


@pytest.mark.parametrize("name", GOOD_CHANGES)
def test_what_is_only_unusual_changes_nothing(tmp_path, name):
    given = sources(tmp_path)
    (tmp_path / "plain").mkdir()
    expected, _ = built(tmp_path / "plain", given)
    for kind in ("items", "interactions"):
        given[kind] = GOOD_CHANGES[name](given[kind], given[kind].read_bytes())
    tables, record = built(tmp_path, given)
    assert tables == expected and record["rejected"] == {}


def test_emoji_and_right_to_left_text_and_ragged_paths_stay(tmp_path):
    rows = raw_catalogue.records()["items"]
    rows[0]["title"] = title = "\U0001f469\u200d\U0001f4bb שלום \u202bעולם\u202c"
    rows[1]["category"], rows[2]["category"] = ["a"], ["a", "b", "b", "c", "d", "e", "f"]
    tables, _ = built(tmp_path, sources(tmp_path, items=rows))
    assert tables["items"]["title"][0] == title
    assert [len(tables["items"]["category"][row]) for row in (1, 2)] == [1, 7]


def csv_items(broken: str = "") -> bytes:
    lines = ["item_id,title,category,attributes"]
    for row in raw_catalogue.records()["items"]:
        path = " > ".join(row["category"] or [])
        attributes = json.dumps(row["attributes"] or "").replace('"', '""')
        lines.append(f'{row["item_id"]},"{row["title"]}",{path},"{attributes}"'
                     if row["attributes"] else f'{row["item_id"]},{row["title"]},{path},')
        if row["item_id"] == "i19" and broken:
            lines.append(broken)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("line, reason", [
    ('new,"a quote that never closes,,', "malformed CSV"), ("new,too,many,fields,here",
                                                            "malformed CSV"),
    ("new", "malformed CSV"), ("new,caf\udce9,,", "not UTF-8"), (",no id,,", "missing field"),
    ('new,title,,"{1}"', "wrong type")])
def test_a_bad_line_of_csv_costs_itself_alone(tmp_path, line, reason):
    given = sources(tmp_path)
    given["items"] = rewritten(tmp_path / "raw" / "items.csv", csv_items(line))
    with pytest.raises(UserError, match=f"items.csv, line 22: {reason}"):
        built(tmp_path, given)
    tables, record = built(tmp_path, given, skip_invalid=True)
    assert record["rejected"] == {reason: 1} and record["counts"]["items"] == 60
    assert tables["items"]["category"][3] == ["things", "phone"]
    assert tables["items"]["attributes"][4] == '{"brand": "nike"}'


WHOLE_FILES = {
    "gzip cut off": ("items.jsonl.gz", lambda data: gzip.compress(data)[:-20],
                     "is not complete gzip data"),
    "no gzip at all": ("items.jsonl.gz", lambda data: data, "is not complete gzip data"),
    "zstd cut off": ("items.jsonl.zst", lambda data: pa.compress(data, "zstd", asbytes=True)[:-9],
                     "is not complete zstd data"),
    "empty": ("items.jsonl", lambda data: b"", "got 0 good records and 0 bad"),
    "only blank lines": ("items.jsonl", lambda data: b"\n\n", "got 0 good records"),
    "nothing good": ("items.jsonl", lambda data: b"{}\n[]\n", "got 0 good records and 2 bad"),
    "UTF-16": ("items.jsonl", lambda data: data.decode().encode("utf-16"), "got 0 good records"),
    "no Parquet": ("items.parquet", lambda data: data, "cannot be read as Parquet"),
    "Parquet cut off": ("items.parquet", lambda data: b"PAR1" + data, "cannot be read as Parquet"),
    "CSV without names": ("items.csv", lambda data: b'"never closed\n1,2\n', "malformed CSV header"),
    "CSV with a header only": ("items.csv", lambda data: b"item_id,title\n", "got 0 good records"),
    "CSV without our columns": ("items.csv", lambda data: b"id,name\na,b\n",
                                "got 0 good records and 1 bad"),
    "unknown type": ("items.xlsx", lambda data: data, "has an unknown type"),
}


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_a_file_that_is_bad_as_a_whole_is_an_error(tmp_path, name):
    file, change, message = WHOLE_FILES[name]
    given = sources(tmp_path)
    data = given["items"].read_bytes()
    given["items"] = rewritten(tmp_path / "raw" / file, change(data))
    with pytest.raises(UserError, match=message):
        built(tmp_path, given, skip_invalid=True)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_parquet_without_a_column_and_with_numbers_as_ids(tmp_path):
    given = sources(tmp_path)
    path = tmp_path / "raw" / "items.parquet"
    pq.write_table(pa.table({"item_id": ["i1"], "name": ["a"]}), path)
    with pytest.raises(UserError, match=r"items.parquet, row 1: missing field: got no 'title'"):
        built(tmp_path, given | {"items": path})
    pq.write_table(pa.table({"item_id": list(range(60)), "title": ["thing"] * 60}), path)
    events = tmp_path / "raw" / "events.parquet"
    pq.write_table(pa.table({"item_id": list(range(50)), "query": ["a", "b"] * 25,
                             "action": ["click", "transaction"] * 25}), events)
    tables, record = built(tmp_path, {"items": path, "interactions": events})
    assert tables["items"]["item_id"][:2] == ["0", "1"] and record["counts"]["interactions"] == 50


@pytest.mark.parametrize("spec, message", [
    ("raw/none.jsonl", "does not exist"), ("raw/*.csv", "matches no file"),
    ("empty", "has no files to read"), ("nosuch://a/b.jsonl", "cannot be opened"),
    ("file:///none/there.jsonl", "does not exist")])
def test_paths_that_lead_nowhere(tmp_path, spec, message):
    given = sources(tmp_path)
    (tmp_path / "empty").mkdir()
    path = spec if "://" in spec else str(tmp_path / spec)
    with pytest.raises(UserError, match=f"items .*{message}"):
        tool.build_dataset(path, given["interactions"], tmp_path / "data")


@pytest.mark.parametrize("text, message", [
    ("items: [", "cannot be read"), ("- a", "holds list; expected our fields"),
    ("people: {a: b}", "kind 'people'; expected one of items"),
    ("items: {name: title}", "maps 'name' of items; expected one of our fields"),
    ("items: {title: 5}", "has {'title': 5} for items; expected texts by texts")])
def test_column_maps_that_say_nothing(tmp_path, text, message):
    path = rewritten(tmp_path / "map.yaml", text.encode())
    with pytest.raises(UserError, match=message):
        tool.build_dataset(**sources(tmp_path), output_dir=tmp_path / "data", columns=path)


@contextlib.contextmanager
def file_limit(size: int):
    """Files may not grow beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [1000, 6000])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, limit):
    rows = raw_catalogue.records()["items"]
    for row in rows:
        row["description"] = os.urandom(100).hex()  # records larger than the tables
    given = sources(tmp_path, items=rows)
    with file_limit(limit), pytest.raises(UserError, match="data cannot be written .*make room"):
        built(tmp_path, given)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_target_that_cannot_be_written(tmp_path, monkeypatch):
    given = sources(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/data cannot be written .*File exists"):
        tool.build_dataset(**given, output_dir=tmp_path / "file" / "data")

    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UserError, match="data cannot be written .*Read-only file system"):
        tool.build_dataset(**given, output_dir=tmp_path / "data")


def test_a_build_killed_half_way_is_no_dataset_and_the_next_is_whole(tmp_path):
    given = sources(tmp_path)

    def killed() -> None:
        write = record_files.write_shard

        def write_and_die(path, records):
            write(path, records)
            os.kill(os.getpid(), signal.SIGKILL)

        record_files.write_shard = write_and_die
        built(tmp_path, given)

    child = multiprocessing.get_context("fork").Process(target=killed)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert not (tmp_path / "data").exists() and (tmp_path / "data.partial").exists()
    with pytest.raises(UserError, match="pool/1.0.0 is missing"):
        catalogue_builder.load_catalogue_dataset(tmp_path / "data", "pool")
    tool.build_dataset(given["items"], given["interactions"], tmp_path / "data")
    assert not (tmp_path / "data.partial").exists()
    builder = catalogue_builder.load_catalogue_dataset(tmp_path / "data", "pool")
    assert builder.info.splits["train"].num_examples == 60
    assert builder.info.metadata["fingerprint"]


def test_two_builds_into_one_directory_wait_for_nobody(tmp_path, monkeypatch):
    given = sources(tmp_path)
    output = tmp_path / "data"
    ready, leave = multiprocessing.Event(), multiprocessing.Event()

    def hold() -> None:
        with directory_lock.locked(output):
            ready.set()
            leave.wait(20)

    holder = multiprocessing.get_context("fork").Process(target=hold)
    holder.start()
    ready.wait(20)
    with pytest.raises(UserError, match=f"data is being written by process {holder.pid}; expected "
                       "one writer"):
        built(tmp_path, given)
    leave.set()
    holder.join()
    real = sidecars.write_sidecars

    def meanwhile(*arguments):
        with pytest.raises(UserError, match="is being written by process"):
            tool.build_dataset(**given, output_dir=output)
        return real(*arguments)

    monkeypatch.setattr(sidecars, "write_sidecars", meanwhile)
    _, record = built(tmp_path, given)
    assert record["counts"]["items"] == 60 and not (tmp_path / "data.lock").exists()
