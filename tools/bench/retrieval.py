"""Generative retrieval on a run's held-out queries, against exhaustive search and BM25.

    python -m tools.bench.retrieval --run_dir=runs/quickstart --output=docs/results/retrieval.md

One candidate pool (all items), one set of held-out queries, training pairs excluded. The lexical
weight is chosen on the validation split. RUN/index is built if it is not there.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gsid_jax import lexical_weight, retriever, trained_model
from gsid_jax.click_log import read_click_log
from gsid_jax.errors import UserError
from gsid_jax.evaluate import bm25, retrieval
from gsid_jax.evaluate.catalogue import Catalogue, load_catalogue
from gsid_jax.evaluate.columns import vectors
from gsid_jax.evaluate.method import Method
from gsid_jax.progress import Progress
from gsid_jax.ranking import Ranking
from tools.bench import results_page

DEPTH = 100
TUNING_BEAM = 50


def figures(catalogue: Catalogue, ranked_RxK: np.ndarray) -> dict[str, dict[str, float]]:
    """Recall and MRR: all relevant items, those seen in training, those unseen."""
    relevant = catalogue.q2i.relevant
    seen = catalogue.seen[relevant.values]
    parts = {"all": np.ones_like(seen), "seen": seen, "unseen": ~seen}
    return {name: retrieval.summary(ranked_RxK, relevant.where(chosen))
            for name, chosen in parts.items() if chosen.any()}


def references(catalogue: Catalogue, query_vectors: np.ndarray, item_vectors: np.ndarray,
               weight: float) -> dict[str, np.ndarray]:
    """Rankings of the whole pool: dense, BM25 and, for a weight above 0, their sum."""
    dense = Method("dense", item_vectors=item_vectors, query_vectors=query_vectors)
    ranked = {
        "exhaustive dense search": retrieval.top_k(
            query_vectors[catalogue.q2i.index], item_vectors, DEPTH, catalogue.tie_rank,
            catalogue.q2i.excluded)[0],
        "BM25": bm25.method("BM25", catalogue).rankings["q2i"]}
    if weight:
        ranked["exhaustive dense search + BM25"] = bm25.method(
            "hybrid", catalogue, dense=dense, dense_weight=1 / weight).rankings["q2i"]
    return ranked


def generative(found: retriever.Retriever, catalogue: Catalogue, weights: Mapping[str, float],
               label: str) -> tuple[dict[str, np.ndarray], float, float]:
    """Rankings by name of the weight; mean probability outside the trie; seconds a query."""
    q2i = catalogue.q2i
    queries = catalogue.query.take(q2i.index).to_pylist()
    ranked = {name: np.full((len(queries), DEPTH), retrieval.NONE, np.int64) for name in weights}
    outside, progress = 0.0, Progress(label, len(queries))
    found.expect(len(queries))
    next(iter(found.candidates(queries[:1])))  # compiles
    start = time.monotonic()
    for i, (query, candidates) in enumerate(zip(queries, found.candidates(queries))):
        barred = q2i.excluded.values[q2i.excluded.offsets[i]:q2i.excluded.offsets[i + 1]]
        for name, weight in weights.items():
            best = found.rank(query, *candidates, barred=barred, lexical_weight=weight).candidates
            ranked[name][i, :len(best.places)] = found.index.rows[best.places]
        outside += candidates[1] / len(queries)
        progress.update(1)
    progress.finish()
    return ranked, outside, (time.monotonic() - start) / len(queries)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that the page shows."""
    run_dir = Path(args.run_dir)
    catalogue = load_catalogue(run_dir / "data")
    plain = trained_model.load_run(run_dir)
    index = retriever.open_index(run_dir, plain)
    ranking = Ranking(top_k=DEPTH)
    lexical = retriever.Lexical(index, run_dir / "data" / "items.parquet")
    tuned = lexical_weight.tune(
        retriever.Retriever(retriever.choose_lookup(plain, args.lookups[0], index, run_dir), index,
                            ranking, beam=TUNING_BEAM, lexical=lexical), run_dir / "data")
    item_vectors = vectors(run_dir / "ids" / "items.npy", len(catalogue.item_id))
    query_vectors = vectors(run_dir / "ids" / "queries.npy", len(catalogue.query))
    rows = [{"method": name, "beam": None, **figures(catalogue, ranked)} for name, ranked in
            references(catalogue, query_vectors, item_vectors, tuned["best"]).items()]
    weights = {"": 0.0, " + BM25": tuned["best"]} if tuned["best"] else {"": 0.0}
    for lookup in args.lookups:
        trained = retriever.choose_lookup(plain, lookup, index, run_dir)
        name = {"marginals": "generative, leaf marginals"}.get(lookup, "generative")
        for beam in args.beams:
            found = retriever.Retriever(trained, index, ranking, beam=beam, lexical=lexical)
            ranked, outside, seconds = generative(found, catalogue, weights, f"{name}, beam {beam}")
            rows += [{"method": name + suffix, "beam": beam, "outside": outside,
                      "seconds": seconds, **figures(catalogue, places)}
                     for suffix, places in ranked.items()]
    if args.click_log:
        clicks = read_click_log(args.click_log, index)
        for beam in args.beams:
            found = retriever.Retriever(plain, index, ranking, beam=beam, click_log=clicks)
            ranked, outside, seconds = generative(found, catalogue, {"": 0.0},
                                                  f"with clicks, beam {beam}")
            rows.append({"method": "generative, click log", "beam": beam, "outside": outside,
                         "seconds": seconds, **figures(catalogue, ranked[""])})
    return {"made": results_page.circumstances("tools.bench.retrieval",
                                               "those of the run (its manifest.json)"),
            "data": catalogue.counts(), "ids": index.trie.num_ids, "tuned": tuned, "rows": rows}


def page(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    data = result["data"]
    text = results_page.opening("Generative retrieval", result["made"])
    text += (f"{data['items']:,} items ({data['items_seen']:,} seen in training), "
             f"{result['ids']:,} distinct IDs, {data['q2i_triggers']:,} held-out queries with "
             f"{data['q2i_pairs']:,} pairs. Recall and MRR in %. *unseen*: relevant items that "
             "training never saw. *outside*: probability that leaves the trie at a prefix that was "
             "kept (mean over queries): what the constraint is worth. Generative: beam search over "
             "the trie of IDs, then the items of these IDs by the dot product of their "
             "representation and the query's, decoded after each ID's own prefix. + BM25: final "
             f"score plus {result['tuned']['best']:g} x BM25, the weight chosen on "
             f"{result['tuned']['queries']:,} queries of the validation split.\n\n")
    rows = []
    for row in result["rows"]:
        whole, unseen = row["all"], row.get("unseen", {})
        cells = [row["method"], "-" if row["beam"] is None else str(row["beam"])]
        cells += [f"{100 * whole[name]:.1f}" for name in
                  ("recall@1", "recall@10", "recall@100", "mrr@100")]
        cells += [f"{100 * unseen[name]:.1f}" if unseen else "-" for name in
                  ("recall@1", "recall@10", "recall@100")]
        cells.append(f"{row['outside']:.3f}" if "outside" in row else "-")
        rows.append(cells)
    text += results_page.table(
        ["method", "beam", "R@1", "R@10", "R@100", "MRR@100", "unseen R@1", "unseen R@10",
         "unseen R@100", "outside"], rows)
    text += "\n## Choice of the lexical weight (validation split, beam 50)\n\n"
    chosen = [[weight, *(f"{100 * values[aim]:.1f}" for aim in lexical_weight.AIMS)]
              for weight, values in result["tuned"]["weights"].items()]
    return text + results_page.table(["weight", "R@1", "R@10", "R@100"], chosen)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", required=True)
    parser.add_argument("--output", default="docs/results/retrieval.md")
    parser.add_argument("--beams", default="1,10,50,200,1000")
    parser.add_argument("--lookups", default="run", help="comma-separated: run, plain, marginals")
    parser.add_argument("--click_log", default="", help="interactions of training, to show that")
    args = parser.parse_args(argv)
    args.beams = [int(beam) for beam in args.beams.split(",")]
    args.lookups = args.lookups.split(",")
    try:
        result = measure(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results_page.write(args.output, page(result), result)
    print(f"{args.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
