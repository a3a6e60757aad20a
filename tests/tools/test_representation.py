"""Retrieval by stage: a row a representation, equal to the evaluation's figures for the last one."""

from gsid_jax.evaluate import retrieval
from gsid_jax.evaluate.catalogue import load_catalogue
from gsid_jax.leaf_marginals import unit
from gsid_jax.trained_model import load_run
from tools import representation


def test_a_row_for_every_output_and_the_pooled_states(tiny_run_dir, tmp_path, capsys):
    page = tmp_path / "page.md"
    assert representation.main([f"--run_dirs={tiny_run_dir}", "--stages=step_1,step_2,fit",
                                f"--report={page}"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()
            if line.startswith("tiny_run")]
    assert [row[1:3] for row in rows] == [
        ["step_1", "d_1"], ["step_1", "pooled"],
        ["step_2", "d_1"], ["step_2", "d_2"], ["step_2", "pooled"]]
    catalogue, encoder = load_catalogue(tiny_run_dir / "data"), load_run(tiny_run_dir).encoder()
    items, queries = (unit(encoder.encode(texts, kind)["embedding"]) for texts, kind in (
        (catalogue.text.to_pylist(), "item"),
        (catalogue.query.take(catalogue.q2i.index).to_pylist(), "query")))
    ranked, _ = retrieval.top_k(queries, items, 100, catalogue.tie_rank, catalogue.q2i.excluded)
    found = retrieval.summary(ranked, catalogue.q2i.relevant)
    assert rows[3][3] == f"{100 * found['recall@1']:.1f}"
    assert "| step_2 | d_2 |" in page.read_text(encoding="utf-8")


def test_stages_that_no_run_has_are_refused(tiny_run_dir, capsys):
    assert representation.main([f"--run_dirs={tiny_run_dir}", "--stages=step_9"]) == 1
    assert "none of the runs has a stage of step_9; expected" in capsys.readouterr().err
