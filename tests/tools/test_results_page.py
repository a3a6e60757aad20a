"""Results pages from evaluated runs; the chain over public data refuses what it cannot do."""

import json

import pytest

from gsid_jax.evaluate import paper_tables, specs
from gsid_jax.evaluate.comparison import Evaluation, compare
from tests.gsid_jax.evaluate.conftest import make_run
from tools import results_page
from tools.real_data import chain


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("page") / "run", items=400, queries=100, branches=4,
                   triggers=20)
    compare(Evaluation([str(run.path)], [specs.Gsid(), specs.OpenEncoder()], report=False,
                       resamples=0))
    return run.path / "evaluation"


def test_a_page_has_tables_branching_and_origin_but_no_machine_paths(evaluated, tmp_path, capsys):
    about = tmp_path / "about.json"
    about.write_text(json.dumps({"name": "titles", "about": "Shows little.",
                                 "records": {"items": 1200}}))
    output = tmp_path / "results" / "page.md"
    assert results_page.main(["--title=A page", "--intro=Read this.", f"--output={output}",
                              f"--evaluations={evaluated},{evaluated}",
                              f"--about={about},{about}"]) == 0
    text = output.read_text(encoding="utf-8")
    assert text.startswith("# A page\n\nRead this.\n\n## titles\n\nShows little.")
    assert text.count("**Table 3. Semantic IDs (%)**") == 2 and "Converted: 1,200 items." in text
    assert "l2: perplexity" in text and "keep 98.0%" in text and "Left out: Open encoder" in text
    assert str(evaluated.parent) not in text and "Made by `python -m gsid_jax.evaluate" in text
    assert capsys.readouterr().out.strip() == str(output)


def test_errors(evaluated, tmp_path, capsys):
    def fails(*arguments):
        assert results_page.main(["--title=x", f"--output={tmp_path / 'x.md'}", *arguments]) == 1
        assert not (tmp_path / "x.md").exists()
        return capsys.readouterr().err
    assert "comparison.json is missing" in fails(f"--evaluations={tmp_path}")
    assert "1 files for 2 evaluations" in fails(f"--evaluations={evaluated},{evaluated}",
                                                "--about=a.json")
    assert "no file" in fails(f"--evaluations={evaluated}", f"--about={tmp_path / 'none.json'}")
    assert chain.main(["--data_root=x", f"--work_dir={tmp_path}", "--names=imagenet"]) == 1
    assert "--names: got 'imagenet', expected some of esci_mini" in capsys.readouterr().err


def test_absolute_paths_lose_their_folders():
    assert paper_tables.without_folders("--a=['/home/me/runs/x', 'runs/y'] a/b 1/2") == (
        "--a=['x', 'runs/y'] a/b 1/2")
