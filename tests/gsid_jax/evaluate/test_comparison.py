"""Several methods and seeds: means, flags, what is best, what is left out, the entry point."""

import json
import statistics

import numpy as np
import pytest

from gsid_jax.errors import UserError
from gsid_jax.evaluate import comparison, paper_tables, specs
from gsid_jax.evaluate.comparison import Evaluation, compare
from tests.gsid_jax.evaluate.conftest import make_run


class Stub:
    """A spec that gives what it is told to."""

    def __init__(self, name, method):
        self.name, self._method = name, method

    def make(self, context):
        import dataclasses
        return [dataclasses.replace(self._method, name=self.name)]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Two runs of one dataset, 800 items, whose IDs differ."""
    root = tmp_path_factory.mktemp("seeds")
    runs = [make_run(root / f"seed{i}", items=800, queries=200, branches=5, triggers=30)
            for i in (0, 1)]
    codes = runs[1].item_codes.copy()
    codes[::4, 0] = (codes[::4, 0] + 1) % 5
    runs[1].rewrite("ids/items.parquet", codes=codes.tolist())
    return runs


@pytest.fixture(scope="module")
def result(seeds):
    methods = [specs.Gsid(), specs.Bm25(), specs.DualEncoder(), specs.OpenEncoder(),
               specs.Bm25(name="GSID + BM25", dense="GSID"),
               specs.ClusteredIds(kinds=("hierarchical", "flat")), specs.TreeIds(("GSID",)),
               specs.RandomIds()]
    said = []
    made = compare(Evaluation([str(run.path) for run in seeds], methods, resamples=200,
                              output_dir=str(seeds[0].path.parent / "out")), say=said.append)
    return made


def test_means_and_deviations_over_seeds(seeds, result):
    own = [json.loads((run.path / "evaluation" / "metrics.json").read_text()) for run in seeds]
    values = [each["code_accuracy"]["l1"]["corrected"] for each in own]
    assert values[0] > values[1]
    gsid = result["methods"]["GSID"]
    found = [gsid[part]["code_accuracy"]["l1"]["corrected"] for part in ("mean", "std")]
    assert found == pytest.approx([statistics.mean(values), statistics.stdev(values)])
    assert gsid["mean"]["q2i"] == pytest.approx(own[0]["q2i"])
    assert result["methods"]["BM25"]["std"]["q2i"]["recall@1"] == 0
    out = seeds[0].path.parent / "out"
    assert json.loads((out / "comparison.json").read_text()) == result
    assert sorted(each.name for each in out.iterdir()) == [
        "comparison.json", "report.html", "tables.md", "tables.txt"]


def test_what_is_missing_is_left_out_and_named(seeds, result):
    assert set(result["left_out"]) == {"Dual encoder", "Open encoder"}
    assert "no dual_encoder/ids/items.npy" in result["left_out"]["Dual encoder"]
    assert "Left out: Dual encoder" in paper_tables.text(result)


def test_a_missing_library_leaves_its_methods_out(run, monkeypatch):
    monkeypatch.setattr(specs.importlib.util, "find_spec", lambda name: None)
    made = compare(Evaluation([str(run.path)], report=False, resamples=0))
    assert list(made["methods"]) == ["GSID"]
    assert made["left_out"]["BM25"] == "bm25s is not installed: pip install 'gsid_jax[eval]'"
    assert "faiss is not installed" in made["left_out"]["ClusteredIds"]


def test_random_ids_reach_nothing(result):
    mean = result["methods"]["Random IDs"]["mean"]
    assert abs(mean["code_accuracy"]["l1"]["corrected"]) < 0.04
    assert abs(mean["code_accuracy"]["l3"]["corrected"]) < 0.02
    assert all(abs(value) < 0.03 for row in mean["ami"].values() for value in row.values())


def test_baselines_have_the_branching_of_the_reference(result):
    wanted = result["methods"]["GSID"]["runs"]
    for name, method in result["methods"].items():
        if method["section"] == specs.MATCHED:
            for own, run in zip(method["runs"], wanted):
                for level in ("l1", "l2", "l3"):
                    assert own["codes"][level]["joint_perplexity"] == pytest.approx(
                        run["codes"][level]["joint_perplexity"], rel=0.15), (name, level)
    assert result["methods"]["GSID, flat k-means (matched)"]["nested"] == 0


def test_differences_are_paired_with_the_reference(result):
    random = result["differences"]["Random IDs"]["code_accuracy.l1"]
    assert 0 < random["low"] < random["difference"] < random["high"]
    assert "q2i.recall@1" not in result["differences"]["Random IDs"]
    assert set(result["differences"]["BM25"]) == {
        f"{task}.{metric}" for task in ("q2i", "i2i")
        for metric in ("recall@1", "recall@10", "recall@100", "mrr@100")}


def test_tables_have_the_paper_s_shape(result):
    one, two, three = paper_tables.all_tables(result)
    assert one.header == ["clusters", "coverage", "accuracy", "SPU purity"]
    assert [row.name for row in one.sections[0][1]][:2] == ["CPV", "GSID"]
    assert [row.name for row in two.sections[0][1]] == ["GSID", "BM25", "GSID + BM25"]
    assert len(two.header) == 8
    assert [heading for heading, _ in three.sections] == ["", specs.SAME_K, specs.MATCHED]
    assert three.header[:3] == ["clusters by level", "cate1_AMI", "cate3_AMI"]
    same_k = [cell for row in three.sections[1][1] for cell in row.cells]
    assert not any(cell.best for cell in same_k)
    assert sum(cell.best for _, rows in three.sections for row in rows for cell in row.cells) > 5
    assert "±" in paper_tables.markdown(result) and "Made by `" in paper_tables.markdown(result)


def test_a_collapsed_method_is_flagged_and_never_best(run):
    from gsid_jax.evaluate.catalogue import load_catalogue
    from gsid_jax.evaluate.method import load_run
    import dataclasses
    method = load_run(run.path, load_catalogue(run.path / "data"))
    collapsed = dataclasses.replace(method, item_codes=np.full_like(method.item_codes, 3),
                                    query_codes=np.full_like(method.query_codes, 3))
    result = compare(Evaluation([str(run.path)], [specs.Gsid(), Stub("bad", collapsed)],
                                resamples=50))
    assert result["methods"]["bad"]["flag"] == "COLLAPSED at l1"
    table = paper_tables.id_table(result)
    bad = next(row for _, rows in table.sections for row in rows if row.name == "bad")
    assert bad.flagged and not any(cell.best for cell in bad.cells)
    assert bad.cells[table.header.index("l1 acc")].text == "100.0"
    assert "**COLLAPSED at l1**" in paper_tables.markdown(result)
    page = (run.path / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert '<tr class="flagged"><th>bad <span class="badge">COLLAPSED at l1</span></th>' in page
    alone = compare(Evaluation([str(run.path)], [Stub("GSID", collapsed)], resamples=0))
    assert alone["methods"]["GSID"]["flag"]
    assert 'class="alert">GSID: COLLAPSED' in (
        run.path / "evaluation" / "report.html").read_text(encoding="utf-8")


def test_retrieval_alone_needs_no_ids(run):
    import shutil
    shutil.rmtree(run.path / "ids")
    result = compare(Evaluation([str(run.path)], [specs.Bm25()], reference="BM25", resamples=0))
    assert [table.title[:7] for table in paper_tables.all_tables(result)] == ["Table 2"]
    page = (run.path / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "Table 2" in page and 'id="tree"' not in page
    assert not (run.path / "evaluation" / "metrics.json").exists()


def test_flag_names_some_runs():
    healthy = {"codes": {"l1": {"collapsed": 0, "leak": 0}}}
    leaking = {"codes": {"l1": {"collapsed": 0, "leak": 1}}}
    assert comparison.flag([healthy, leaking]) == "LEAK at l1 in 1 of 2"
    assert comparison.flag([leaking, leaking]) == "LEAK at l1" and not comparison.flag([healthy])


def test_user_errors(run):
    with pytest.raises(UserError, match="two methods are named 'BM25'"):
        compare(Evaluation([str(run.path)], [specs.Bm25(), specs.Bm25()]))
    with pytest.raises(UserError, match="run_dirs: got '.*', expected a list"):
        Evaluation(str(run.path))
    with pytest.raises(UserError, match="run directory .*none is missing"):
        compare(Evaluation([str(run.path / "none")]))
    with pytest.raises(UserError, match="Other: no run directory"):
        compare(Evaluation([str(run.path)], [specs.Gsid("Other", False, ["nowhere"])]))


def test_gin_file_and_quick_command(run):
    import pathlib
    import subprocess
    import sys
    done = subprocess.run(
        [sys.executable, "-m", "gsid_jax.evaluate", "--gin_file=gin_configs/runs/evaluate.gin",
         f"--gin.RUN_DIRS=[{str(run.path)!r}]", "--gin.TITLE='A title'",
         "--gin.Evaluation.methods=[@specs.Gsid(), @bm25/specs.Bm25(), @specs.TreeIds()]"],
        text=True, capture_output=True, cwd=pathlib.Path(__file__).parents[3], check=False)
    assert done.returncode == 0, done.stderr
    assert "Table 2. Retrieval" in done.stdout and "Left out: TreeIds" in done.stdout
    assert json.loads((run.path / "evaluation" / "comparison.json").read_text())[
        "title"] == "A title"
