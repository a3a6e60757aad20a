"""The command line of retrieval, on a run of untrained steps."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from gsid_jax import code_index, final_ids, lexical_weight, retrieve, retriever, trained_model
from gsid_jax.errors import UserError
from gsid_jax.ranking import NO_BEAM, Ranking
from tests.gsid_jax import tiny_run

QUERIES = ["apple phone", "lego brick set", "cheap"]


@pytest.fixture(scope="module")
def run_dir(tiny_run_dir, tmp_path_factory):
    """The tiny run with final IDs."""
    run = tmp_path_factory.mktemp("retrieve") / "run"
    shutil.copytree(tiny_run_dir, run)
    trained = trained_model.load_run(run)
    final_ids.write_ids(trained.encoder(batch_size=64), data_dir=run / "data",
                        output_dir=run / "ids", model_hash=trained.hash)
    yield run
    tiny_run.forget()


@pytest.fixture(scope="module")
def session(run_dir):
    """A beam as wide as the 64 possible IDs, with BM25 at hand."""
    return retrieve.Session(str(run_dir), Ranking(top_k=5), beam=64, batch_size=8,
                            lexical_weight="0.2")


def test_a_full_beam_ranks_every_item(session, run_dir):
    assert len(session.retriever.index) == tiny_run.ITEMS
    assert sorted(session.retriever.index.statistics) == ["clicks", "conversions"]
    for candidates, outside in session.retriever.candidates(QUERIES):
        assert sorted(candidates.places.tolist()) == list(range(tiny_run.ITEMS))
        assert 0 <= outside < 1 and (candidates.beams != NO_BEAM).all()
    # Where a query's own greedy path is a valid ID, its items score as in exhaustive search.
    vectors = np.load(run_dir / "ids" / "items.npy")
    own = pq.read_table(run_dir / "ids" / "queries.parquet").slice(0, 20)
    own_vectors = np.load(run_dir / "ids" / "queries.npy")
    numbers = session.retriever.index.trie.find(np.array(own["codes"].to_pylist()))
    assert (numbers >= 0).any()
    found = session.retriever.candidates(own["query"].to_pylist())
    for number, vector, (candidates, _) in zip(numbers, own_vectors, found):
        mine = candidates.take(np.flatnonzero(
            session.retriever.index.id_of_place()[candidates.places] == number))
        rows = session.retriever.index.rows[mine.places]
        np.testing.assert_allclose(mine.in_id, vectors[rows] @ vector, atol=1e-5)


def test_one_query_is_printed_with_titles_and_an_empty_one_refused(session, run_dir, capsys):
    titles = retrieve.Titles(run_dir)
    page = retrieve.page(session, "  apple   phone ", titles)
    lines = page.splitlines()
    assert lines[0].startswith("'apple phone': ") and len(lines) == 7
    assert " i0 " in page or "used " in lines[2]
    retrieve.converse(session, ["cheap\n", "\n", "lego\n"], titles)
    out, error = capsys.readouterr()
    assert out.count("rank   score") == 2
    assert error == ("error: the query is empty; expected some text, such as --query='apple "
                     "laptop'\n")


def test_a_file_of_queries_goes_on_after_a_kill(session, tmp_path, monkeypatch):
    queries = tmp_path / "queries.txt"
    queries.write_text("\n".join(QUERIES * 2) + "\n", encoding="utf-8")
    whole = tmp_path / "whole.parquet"
    text = retrieve.retrieve_file(session, queries, whole, part_rows=2)
    assert text == f"{whole}: 30 items for 6 queries"
    table = pq.read_table(whole)
    assert table.schema.equals(retrieve.SCHEMA)
    assert table["row"].to_pylist() == sorted(list(range(6)) * 5)
    assert table["rank"].to_pylist() == [1, 2, 3, 4, 5] * 6
    scores = np.array(table["score"].to_pylist()).reshape(6, 5)
    assert (np.diff(scores, axis=1) <= 0).all()

    calls = []

    def killed(self, found, records=retriever.Retriever.records):
        calls.append(found.query)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return records(self, found)
    again = tmp_path / "again.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(retriever.Retriever, "records", killed)
        with pytest.raises(KeyboardInterrupt):
            retrieve.retrieve_file(session, queries, again, part_rows=2)
    assert not again.exists()
    assert retrieve.retrieve_file(session, queries, again, part_rows=2).endswith("6 queries")
    lines = [json.loads(line) for line in again.read_text(encoding="utf-8").splitlines()]
    assert lines == table.to_pylist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.jsonl", "queries.txt",
                                                          "whole.parquet"]
    for output in (whole, again):
        with pytest.raises(UserError, match="exists already"):
            retrieve.retrieve_file(session, queries, output, part_rows=2)


def test_an_empty_query_of_a_file_names_its_line(session, tmp_path):
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"query": "sony"}\n{"query": "  "}\n', encoding="utf-8")
    with pytest.raises(UserError, match="queries.jsonl, line 2: empty text"):
        retrieve.retrieve_file(session, queries, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_the_lexical_weight_is_chosen_on_validation_queries(session, run_dir):
    with pytest.raises(UserError, match="tuned: .*lexical_weight.json does not exist"):
        lexical_weight.load(session.retriever.index.directory, session.model_hash)
    queries, relevant, barred = lexical_weight.validation_queries(run_dir / "data")
    assert len(queries) == len(relevant) == len(barred) and (relevant.counts > 0).all()
    items = pq.read_table(run_dir / "data" / "items.parquet")["validation"].to_numpy()
    assert items[relevant.values].all() and not items[barred.values].any()
    result = lexical_weight.tune(session.retriever, run_dir / "data", weights=(0.0, 0.5))
    best = max((0.0, 0.5), key=lambda w: sum(
        result["weights"][str(w)][aim] for aim in lexical_weight.AIMS))
    assert result["best"] == best
    lexical_weight.save(session.retriever.index.directory, result, session.model_hash)
    assert lexical_weight.load(session.retriever.index.directory, session.model_hash) == best
    with pytest.raises(UserError, match="is of another model"):
        lexical_weight.load(session.retriever.index.directory, "other")


def test_an_index_of_another_model_or_a_damaged_one_is_refused(session, run_dir, tmp_path):
    contents = session.retriever.index.contents()
    code_index.write_index(tmp_path / "other", contents, model="f" * 64, codebook_size=8)
    trained = trained_model.load_run(run_dir)
    with pytest.raises(UserError, match="holds IDs of another model: got model ffff"):
        retriever.open_index(run_dir, trained, tmp_path / "other")
    rows = next((tmp_path / "other").glob("data-*/rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-4])
    with pytest.raises(UserError, match="rows.npy has .* the file was cut short"):
        retriever.open_index(run_dir, trained, tmp_path / "other")


@pytest.mark.parametrize("flags, message", [
    ({"run_dir": None}, "--run_dir is missing"),
    ({"query": " "}, "--query is empty"),
    ({"queries": "q.txt"}, "expected both"),
    ({"queries": "q.txt", "output": "o.csv"}, "does not end in .parquet or .jsonl"),
    ({"lexical_weight": "much"}, "--lexical_weight=much; expected a number or 'tuned'")])
def test_flags_that_cannot_be_are_refused_before_work(flags, message):
    import types
    values = {"run_dir": "run", "query": None, "queries": None, "output": None,
              "lexical_weight": "0", "overwrite": False}
    with pytest.raises(UserError, match=message):
        retrieve._check(types.SimpleNamespace(**(values | flags)))
