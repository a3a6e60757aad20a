"""The ceiling of retrieval: ranks by what the simulator knows."""

import json
import types

import numpy as np

from gsid_jax.evaluate.lists import Lists
from tools import ceiling, simulate
from tools.marketplace import listings
from tools.marketplace.world import World


def test_fresh_queries_find_the_items_they_are_about(tmp_path):
    simulate.simulate(str(tmp_path / "raw"), 2000, seed=3)
    pairs = [json.loads(line) for line in (tmp_path / "raw/interactions.jsonl").open()]
    world = World(simulate.LANGUAGES["en"], 2000, 3)
    numbers = np.arange(2000)
    queries = {text: row for row, text in enumerate(sorted({p["query"] for p in pairs}))}
    scores = ceiling.fresh_scores(world, numbers, queries, 4, known_popularity=True)
    own = np.array([scores[queries[p["query"]], int(p["item_id"][1:])] for p in pairs])
    assert (own > 0).mean() > 0.3 > 10 * (scores > 0).mean()


def test_a_reader_keeps_what_the_text_shows_and_guesses_the_rest():
    world = World(simulate.LANGUAGES["en"], 2000, 3)
    spu = world.spu(5)
    facts = listings.draw_facts(world.language, spu, iter([0.3, 0.6]).__next__)
    reader = ceiling.Reader(world)
    shown = f"{spu.model} {facts.values[0][0]} {facts.values[1][0]}".lower()
    assert reader.guess(shown, facts, [0.99] * 3) == facts
    first, last = (reader.guess("a thing", facts, [u] * 3) for u in (0.0, 0.99))
    assert first.spu.leaf == last.spu.leaf == spu.leaf and first.spu != last.spu
    branded = reader.guess(f"a {spu.line.brand} thing".lower(), facts, [0.99] * 3)
    assert branded.spu.line.brand == spu.line.brand


def test_an_spu_shares_its_mean():
    scores = np.array([[1, 3, 5], [0, 0, 2]], np.float32)
    np.testing.assert_array_equal(ceiling.group_means(scores, np.array([7, 7, 4])),
                                  [[2, 2, 5], [0, 0, 2]])


def test_runs_of_other_items_are_refused(published_run_dir, capsys):
    assert ceiling.main([f"--run_dirs={published_run_dir}", "--seeds=0"]) == 1
    assert "holds other items than those of tools.simulate" in capsys.readouterr().err
    assert ceiling.main([f"--run_dirs={published_run_dir}", "--seeds=0,1"]) == 1
    assert "got 2 for 1 runs, expected one each" in capsys.readouterr().err


def test_the_truth_ranks_perfectly():
    catalogue = types.SimpleNamespace(
        q2i=types.SimpleNamespace(relevant=Lists.of([[0, 2], [1]]), excluded=Lists.of([[], [2]])),
        tie_rank=np.arange(3))
    found = ceiling.measure(catalogue, np.array([[2, 0, 1], [0, 1, 9]], np.float32), ())
    np.testing.assert_allclose(found, [75, 100, 100, 100])
