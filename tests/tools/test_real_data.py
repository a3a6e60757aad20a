"""Converters of public data: small files in the published form, and the real ones where present."""

import csv
import gzip
import json
import pathlib

import pytest

from tests.gsid_jax.tiny_run import write_jsonl
from tools.real_data import __main__ as real_data
from tools.real_data import esci, jd_titles

PUBLISHED = pathlib.Path(__file__).parents[3] / "shared" / "data"


def write_csv(path, header, rows):
    opened = gzip.open(path, "wt", encoding="utf-8", newline="") if path.suffix == ".gz" else open(
        path, "w", encoding="utf-8", newline="")
    with opened as file:
        csv.writer(file).writerows([header, *rows])


def write_gz(path, records):
    plain = write_jsonl(path.with_suffix(""), records)
    path.write_bytes(gzip.compress(plain.read_bytes()))


def convert(name, folder, output):
    assert real_data.main([f"--name={name}", f"--input={folder}", f"--output_dir={output}"]) == 0
    return {path.stem: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            for path in output.glob("*.jsonl")}


def test_esci_splits_by_query(tmp_path):
    queries = [f"query {i}" for i in range(40)]
    write_gz(tmp_path / "products.jsonl.gz", [
        {"product_id": f"p{i}", "locale": "us", "product_title": f" title  {i}",
         "product_description": "", "product_bullet_point": "a\nb", "product_brand": "Acme",
         "product_color": ""} for i in range(40)])
    write_csv(tmp_path / "query_product_labels.csv",
              ["locale", "query", "product_id", "esci_label", "source"],
              [["us", query, f"p{(i + shift) % 40}", label, "s"] for i, query in enumerate(queries)
               for shift, label in enumerate("ESCI")] + [["us", "query 0", "unknown", "E", "s"]])
    files = convert("esci_mini", tmp_path, tmp_path / "out")
    assert files["items"][1] == {"item_id": "us-p1", "title": "title 1", "description": "a b",
                                 "attributes": {"brand": "Acme"}}
    held_out = {query for query in queries if esci.held_out(query)}
    assert 2 < len(held_out) < 16
    assert {each["query"] for each in files["q2i_test"]} == held_out
    assert {each["query"] for each in files["interactions"]} == set(queries) - held_out
    first = next(i for i, query in enumerate(queries) if query not in held_out)
    own = [each for each in files["interactions"] if each["query"] == queries[first]]
    assert own == [{"query": queries[first], "item_id": f"us-p{first}", "purchase": 1},
                   {"query": queries[first], "item_id": f"us-p{(first + 1) % 40}", "click": 1}]


def test_icecat_leaves_out_descriptions_that_repeat_the_title(tmp_path):
    base = {"supplier": "HP", "product_type": "Notebook", "attributes": {"attr_t_colour": "red",
                                                                        "attr_n_weight": 2.0}}
    write_gz(tmp_path / "products.jsonl.gz", [
        {"id": "1", "title": "HP dv7", "short_description": "Intel laptop 17 inch", **base},
        {"id": "2", "title": "HP dv8 Notebook", "short_description": "DV8 notebook", **base},
        {"id": "3", "title": "HP dv9", "short_description": None, **base, "product_type": "1"}])
    files = convert("icecat", tmp_path, tmp_path / "out")
    assert files["items"][0]["category"] == ["HP", "Notebook"]
    assert files["items"][0]["attributes"] == {"brand": "HP", "colour": "red"}
    assert files["items"][2]["category"] == ["HP"]
    assert files["interactions"] == [
        {"query": "Intel laptop 17 inch", "item_id": "1", "click": 1}]


def test_online_retail_tests_later_pairs_only(tmp_path):
    write_csv(tmp_path / "products.csv", ["stock_code", "description"],
              [[code, f"THING {code}"] for code in "ABCD"])
    rows = []
    for day in range(20):  # A with B early, C with D late; A and B late again
        pair = "AB" if day < 16 else "ABCD"
        rows += [[f"{day:02d}", code, "x", 1, f"2011-01-{day + 1:02d}", 2.5, f"u{day % 2}", "UK"]
                 for code in pair]
    rows += [["C99", "A", "x", -1, "2011-01-02", 2.5, "u0", "UK"]]  # returned goods
    write_csv(tmp_path / "transactions.csv.gz",
              ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice",
               "CustomerID", "Country"], rows)
    files = convert("online_retail", tmp_path, tmp_path / "out")
    assert files["interactions"] == [{"query": "thing a", "item_id": "B", "click": 16},
                                     {"query": "thing b", "item_id": "A", "click": 16}]
    tested = {each["item_id"]: each["item_ids"] for each in files["i2i_test"]}
    assert "B" not in tested["A"] and set(tested["A"]) == {"C", "D"} and "D" in tested["C"]
    assert {each["query"] for each in files["q2i_test"]} == {f"thing {code}" for code in "abcd"}
    assert files["sequences"][0]["items"][:2] == ["A", "B"]


def test_jd_pairs_share_no_text(tmp_path):
    title = "泰森冷冻琵琶腿块 454g袋装"
    write_csv(tmp_path / "titles.csv", ["title", "leaf_category"], [[title, "鸡肉"], ["短", "x"]])
    files = convert("jd_titles_zh", tmp_path, tmp_path / "out")
    query, rest = jd_titles.cut_out(title)
    assert files["items"] == [{"item_id": "jd00000", "title": " ".join(rest.split()),
                               "category": ["鸡肉"]}]
    assert files["interactions"][0]["query"] == query.strip()
    assert len(query) + len(rest) == len(title) + 1 and query in title


def test_errors_name_the_file(tmp_path, capsys):
    def fails(*arguments):
        assert real_data.main([*arguments, f"--output_dir={tmp_path / 'out'}"]) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err
    assert "no folder" in fails("--name=icecat", f"--input={tmp_path / 'none'}")
    assert "no file" in fails("--name=icecat", f"--input={tmp_path}")
    write_csv(tmp_path / "titles.csv", ["name"], [["x"]])
    assert "titles.csv, line 1: title, leaf_category is missing, got name" in fails(
        "--name=jd_titles_zh", f"--input={tmp_path}")
    (tmp_path / "products.jsonl.gz").write_bytes(gzip.compress(b"{\n"))
    assert "products.jsonl.gz, line 1: not JSON" in fails("--name=icecat", f"--input={tmp_path}")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not there")
@pytest.mark.parametrize("name, items, pairs", [
    ("esci_mini", 3250, 1420), ("icecat", 19406, 11738), ("jd_titles_zh", 2512, 2512)])
def test_published_files_convert(name, items, pairs, tmp_path):
    about = real_data.convert(name, PUBLISHED / name, tmp_path / "out")
    assert about["records"]["items"] == items and about["records"]["interactions"] == pairs
