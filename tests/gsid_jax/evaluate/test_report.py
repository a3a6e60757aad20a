"""The report in a real headless Chromium, and the data behind its tree."""

import json

import numpy as np
import pytest

from gsid_jax.evaluate import report_charts, report_examples, report_tree, specs
from gsid_jax.evaluate.catalogue import load_catalogue
from gsid_jax.evaluate.comparison import Evaluation, compare
from gsid_jax.evaluate.method import load_run
from tests.gsid_jax.evaluate import chromium
from tests.gsid_jax.evaluate.conftest import make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small run with hostile titles, evaluated, with its report."""
    run = make_run(tmp_path_factory.mktemp("report") / "run", items=900, queries=200, branches=4,
                   triggers=30)
    titles = [f"thing {i}" for i in range(900)]
    titles[7] = "</script><script>console.error('escaped')</script> <b>bold</b> 中文 title"
    run.rewrite("data/items.parquet", title=titles)
    compare(Evaluation([str(run.path)], [specs.Gsid(), specs.Bm25()], resamples=100))
    return run


def tree_of(run, **options):
    catalogue = load_catalogue(run.path / "data")
    return report_tree.build(catalogue, load_run(run.path, catalogue), **options)


def test_nodes_count_their_items_queries_and_children(made):
    tree = tree_of(made)
    assert tree.items == 900 and tree.distinct == len(np.unique(made.item_codes, axis=0))
    by_path = {}
    for number, node in enumerate(tree.nodes):
        assert node[0] < number  # parents come first
        path = (*by_path[node[0]], node[1]) if node[0] >= 0 else (node[1],)
        by_path[number] = path
        depth = len(path)
        inside = (made.item_codes[:, :depth] == path).all(axis=1)
        assert node[2] == inside.sum()
        assert node[4] == (made.query_codes[:, :depth] == path).all(axis=1).sum()
        if depth < 3:
            assert node[3] == len(set(made.item_codes[inside, depth]))
        names = [tree.categories[label] for label, _ in node[5]]
        assert node[5][0][1] == node[6]
        if depth == 3:
            assert names == [f"c{path[0]}.{path[1]}.{path[2]}"] and node[6] == 1
    assert len(by_path) == sum(len({tuple(row[:d]) for row in made.item_codes.tolist()})
                               for d in (1, 2, 3))


def test_the_largest_nodes_are_kept_and_repeat(made):
    tree = tree_of(made, max_nodes=10)
    assert len(tree.nodes) == 10 and tree.plain() == tree_of(made, max_nodes=10).plain()
    sizes = sorted((node[2] for node in tree_of(made).nodes), reverse=True)
    assert sorted((node[2] for node in tree.nodes), reverse=True) == sizes[:10]


def test_examples_by_hand(made):
    catalogue = load_catalogue(made.path / "data")
    method = load_run(made.path, catalogue)
    number, shown = report_examples.failures(catalogue, method)
    queries, items = catalogue.q2i.pairs
    assert number == np.sum(made.query_codes[queries, 0] != made.item_codes[items, 0])
    assert all(each.query_id.split("-")[0] != each.item_id.split("-")[0] for each in shown)
    path, size, titles = report_examples.biggest(catalogue, method)[0]
    ids, sizes = np.unique(made.item_codes, axis=0, return_counts=True)
    assert size == sizes.max() and path in {"-".join(map(str, row)) for row in
                                            ids[sizes == size].tolist()}
    for example in report_examples.one_id_many_cpv(catalogue, method):
        assert len({row[2] for row in example.rows}) == 1
    for example in report_examples.one_cpv_many_ids(catalogue, method):
        assert len({row[1] for row in example.rows}) == 1


def test_curves_are_read_without_tensorflow(tmp_path):
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    for first, values in ((0, [5.0, 4.0]), (1, [3.0, float("nan")])):  # resumed at step 1
        writer = EventFileWriter(str(tmp_path / "step_1" / "tensorboard"),
                                 filename_suffix=f".{first}")
        for step, value in enumerate(values, first):
            writer.add_event(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[
                summary_pb2.Summary.Value(tag="train/contrastive", simple_value=value)])))
        writer.close()
    scalars = report_charts.read_scalars(tmp_path / "step_1")["train/contrastive"]
    assert scalars[:2] == [(0, 5.0), (1, 3.0)] and np.isnan(scalars[2][1])
    charts = report_charts.training([tmp_path])
    assert len(charts) == 1 and charts[0].count("<polyline") == 1 and "nan" not in charts[0]
    assert report_charts.read_scalars(tmp_path) == {}


def test_the_page_holds_its_data_and_no_address(made):
    page = (made.path / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page and "<link rel=\"icon\"" in page
    text = page.split('id="tree-data">')[1].split("</script>")[0]
    assert json.loads(text)["items"] == 900
    assert page.count("</script>") == 2  # the hostile title is not a third


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium or Chrome is installed")
def test_the_page_loads_expands_and_searches_in_chromium(made, tmp_path):
    browser = chromium.Browser()
    try:
        browser.open(made.path / "evaluation" / "report.html")
        assert browser.run("document.title") == "run: semantic IDs"
        assert browser.run("document.querySelectorAll('#tree > li').length") == 4
        assert browser.run("document.querySelectorAll('table').length") >= 5
        browser.run("document.querySelector('#tree .node').click()")
        first = "document.querySelector('#tree > li')"
        assert browser.run(f"{first}.querySelector('.node').ariaExpanded") == "true"
        assert browser.run(f"{first}.querySelectorAll(':scope > ul > [data-node]').length") == 4
        assert "Typical titles of" in browser.run(f"{first}.querySelector('.detail').innerText")
        browser.run(f"{first}.querySelector('.node').click()")
        assert browser.run(f"{first}.children.length") == 1
        browser.run("(() => { const box = document.getElementById('tree-search');"
                    "box.value = '<b>Bold</b> 中文'; box.dispatchEvent(new Event('input')); })()")
        browser.wait("document.querySelectorAll('#tree-results button').length > 0")
        wanted = "-".join(map(str, made.item_codes[7].tolist()))
        assert browser.run("document.querySelector('#tree-results .id').textContent") == wanted
        browser.run("document.querySelector('#tree-results button').click()")
        assert browser.run("document.querySelector('.found .path').textContent") == wanted
        path = "-".join(map(str, made.item_codes[0, :2].tolist()))
        browser.run(f"document.getElementById('tree-search').value = '{path}';"
                    "document.getElementById('tree-search').dispatchEvent("
                    "new KeyboardEvent('keydown', {key: 'Enter'}))")
        assert browser.run("document.querySelector('.found .path').textContent").startswith(path)
        browser.run("document.getElementById('tree-search').value = 'no such thing';"
                    "document.getElementById('tree-search').dispatchEvent(new Event('input'))")
        browser.wait("document.getElementById('tree-results').innerText.includes('Nothing found')")
        browser.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000
        assert browser.errors == []
    finally:
        browser.close()
