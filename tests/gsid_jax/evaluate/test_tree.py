"""The excerpt of the ID tree shows typical titles and queries under each ID."""

import numpy as np
import pyarrow as pa

from gsid_jax.evaluate import tree
from gsid_jax.evaluate.catalogue import load_catalogue
from gsid_jax.evaluate.method import Method, load_run


def test_excerpt_by_hand(run):
    catalogue = load_catalogue(run.path / "data")
    codes = np.full((1200, 2), 9)
    codes[:6] = [[3, 1], [3, 1], [3, 1], [3, 2], [4, 0], [4, 0]]
    query_codes = np.full((240, 2), 7)
    query_codes[5] = [3, 1]
    vectors = np.zeros((1200, 2), np.float32)
    vectors[:3] = [[0, 1], [2, 1], [1, 1]]
    method = Method("x", codes, query_codes, vectors, np.ones((240, 2), np.float32))
    titles = catalogue.title.to_pylist()
    lines = tree.excerpt(catalogue, method, branches=9, texts=2).splitlines()
    assert lines[0] == "ID tree (1,200 items, 4 distinct IDs), excerpt:"
    start = next(i for i, line in enumerate(lines) if line.startswith("3  (4 items"))
    assert lines[start + 1].startswith("  3-1  (3 items")
    assert lines[start + 2:start + 5] == [
        f"      item   {titles[1]}", f"      item   {titles[2]}",
        f"      query  {catalogue.query[5].as_py()}"]
    assert lines[start + 5].startswith("  3-2  (1 item, 100% ")


def test_excerpt_is_short_and_names_the_common_category(run):
    catalogue = load_catalogue(run.path / "data")
    method = load_run(run.path, catalogue)
    text = tree.excerpt(catalogue, method)
    assert text == tree.excerpt(catalogue, method)
    assert 30 < len(text.splitlines()) < 110
    for line in text.splitlines():
        if line.strip().split(" ")[0].count("-") == 1:
            assert f", 100% c{line.strip().split()[0].replace('-', '.')}" in line


def test_excerpt_without_vectors_or_queries(run):
    catalogue = load_catalogue(run.path / "data")
    method = Method("k-means", load_run(run.path, catalogue).item_codes)
    assert "query" not in tree.excerpt(catalogue, method)


def test_texts_are_shown_once_on_one_short_line():
    texts = pa.chunked_array([["a  b\nc", "a b c", "x" * 200]])
    shown = tree._typical(texts, np.arange(3), None, None, 3)
    assert shown == ["a b c", "x" * 71 + "…"]
