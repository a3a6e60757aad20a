"""How well could anyone retrieve? Ranks with what only the simulator knows, for held-out queries.

    python -m tools.ceiling --run_dirs=runs/marketplace_seed0,runs/marketplace_seed1 \\
        --seeds=0,1 --report=docs/results/ceiling.md

Many fresh queries are drawn for every item of a run's marketplace, by the simulator's own rules and
from what is true of the item (product, attributes, popularity), not from what its listing says. For
each held-out query the items are then ranked by how often, and how strongly, that very query came
up. Nothing that reads listings can be expected to do better. --run_dirs must be runs on
`tools.simulate`'s data with the seeds given.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.evaluate import retrieval
from gsid_jax.evaluate.catalogue import Catalogue, load_catalogue
from gsid_jax.evaluate.run import check_run_dir
from tools import simulate
from tools.bench.results_page import results_page, write_page
from tools.marketplace import behaviour, listings, sequences
from tools.marketplace.draws import uniform
from tools.marketplace.world import World
from tools.train_seeds import parse_seeds

FIRST_STREAM = 1000  # of the fresh queries; the simulator's own streams are below
CHUNK_ITEMS = 4096
TOP = 100
FIGURES = ("recall@1", "recall@10", "recall@100", "mrr@100")
TEXT = (
    "Query to item over the whole pool (%), {triggers} held-out queries by seed. *Facts and "
    "popularity*: items ranked by the clicks, contacts and purchases that this very query drew in "
    "{rounds} fresh rounds of searches (about {per_item:,.0f} queries an item). *Facts alone*: the "
    "popularity of every item drawn anew in each round, as if unknown; no text tells it. *Product "
    "alone*: the scores of an SPU's items are their mean, as if its items could not be told apart. "
    "Queries with a typing error or an added word rarely come up twice, and items that the query "
    "never drew stay unranked ({unmatched:.1%} of the queries drew none): a perfect reader of such "
    "queries would gain a little on these rows.")


def fresh_scores(seed: int, numbers: np.ndarray, world: World, queries: dict[str, int],
                 rounds: int, known_popularity: bool) -> np.ndarray:
    """How strongly each query came up for each item, float32 [queries, items].

    Args:
      seed: of the marketplace.
      numbers: int64 [items], the simulator's number of each item.
      world: the marketplace.
      queries: row of each query.
      rounds: how often the behaviour around each item is drawn.
      known_popularity: with each item's own popularity; else a fresh one in each round.
    """
    scores = np.zeros((len(queries), len(numbers)), np.float32)
    for start in range(0, len(numbers), CHUNK_ITEMS):
        part = numbers[start:start + CHUNK_ITEMS]
        facts = [listings.draw_facts(world.language, world.spu(spu), iter(row).__next__)
                 for spu, row in zip(world.item_spus(part).tolist(),
                                     uniform(seed, simulate.FACT_STREAM, part, 2).tolist())]
        popularity = sequences.popularity(seed, part)
        for stream in range(FIRST_STREAM, FIRST_STREAM + rounds):
            rows = uniform(seed, stream, part, behaviour.BEHAVIOUR_DRAWS + 1)
            fame = (popularity if known_popularity else rows[:, -1]).tolist()
            for column, (fact, famous, row) in enumerate(zip(facts, fame, rows.tolist()), start):
                for pair in behaviour.item_pairs(world.language, fact, fact, famous,
                                                 iter(row).__next__):
                    place = queries.get(pair.query)
                    if place is not None:
                        scores[place, column] += pair.weight
    return scores


def product_means(scores: np.ndarray, spus: np.ndarray) -> np.ndarray:
    """Each item's score replaced by the mean over the items of its SPU, float32 [R, N]."""
    _, label, count = np.unique(spus, return_inverse=True, return_counts=True)
    sums = np.zeros((len(count), len(scores)), np.float32)
    np.add.at(sums, label, scores.T)
    return (sums / count[:, None])[label].T


def measure(catalogue: Catalogue, scores: np.ndarray) -> list[float]:
    """FIGURES of the ranking by these scores, in percent; items of score 0 are not ranked."""
    triggers = catalogue.q2i
    scores = scores.copy()
    scores[triggers.excluded.rows, triggers.excluded.values] = 0
    best = retrieval.Best(len(scores), TOP, catalogue.tie_rank)
    best.add(*np.nonzero(scores), scores[np.nonzero(scores)])
    found = retrieval.summary(best.ranking()[0], triggers.relevant)
    return [100 * found[name] for name in FIGURES]


def ceilings(run_dir: pathlib.Path, seed: int, language: str, rounds: int
             ) -> tuple[dict[str, list[float]], int, float]:
    """FIGURES by row of the table, the number of queries, and the share that drew no item."""
    check_run_dir(run_dir)
    catalogue = load_catalogue(run_dir / "data")
    names = catalogue.item_id.to_pylist()
    if any(name != simulate.item_id(n) for n, name in enumerate(sorted(names))):
        raise UserError(f"{run_dir} holds other items than those of tools.simulate (i00000000, "
                        "...): correct --run_dirs")
    numbers = np.array([int(name[1:]) for name in names])
    world = World(simulate.LANGUAGES[language], len(numbers), seed)
    texts = catalogue.query.take(catalogue.q2i.index).to_pylist()
    queries = {text: row for row, text in enumerate(texts)}
    scores = {known: fresh_scores(seed, numbers, world, queries, rounds, known)
              for known in (True, False)}
    unmatched = float((scores[True].max(axis=1) == 0).mean())
    if unmatched > 0.5:
        raise UserError(f"{unmatched:.0%} of the queries of {run_dir} never come up: it was made "
                        f"with another seed than {seed} or another language: correct --seeds")
    products = product_means(scores[False], world.item_spus(numbers))
    return ({"facts and popularity": measure(catalogue, scores[True]),
             "facts alone": measure(catalogue, scores[False]),
             "product alone": measure(catalogue, products)}, len(queries), unmatched)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dirs", required=True, help="pipeline runs, comma-separated")
    parser.add_argument("--seeds", required=True, help="the seed of each run's marketplace")
    parser.add_argument("--language", default="en", choices=sorted(simulate.LANGUAGES))
    parser.add_argument("--rounds", type=int, default=200, help="more: finer, slower")
    parser.add_argument("--report", type=pathlib.Path, help="page to write")
    args = parser.parse_args(argv)
    quiet.tensorflow()
    rows, counts, unmatched = {}, [], []
    try:
        run_dirs, seeds = args.run_dirs.split(","), parse_seeds(args.seeds)
        if len(run_dirs) != len(seeds):
            raise UserError(f"--seeds: got {len(seeds)} for {len(run_dirs)} runs, expected one each")
        for run_dir, seed in zip(run_dirs, seeds):
            found, count, missing = ceilings(pathlib.Path(run_dir), seed, args.language, args.rounds)
            counts.append(f"{count:,}")
            unmatched.append(missing)
            for name, figures in found.items():
                rows.setdefault(name, []).append(figures)
                print(run_dir, name, *(f"{value:.1f}" for value in figures), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = [[name, *(f"{mean:.1f}" + (f" ± {std:.1f}" if len(figures) > 1 else "")
                      for mean, std in zip(np.mean(figures, axis=0),
                                           np.std(figures, axis=0, ddof=len(figures) > 1)))]
             for name, figures in rows.items()]
    per_item = args.rounds * (behaviour.MIN_QUERIES + behaviour.MAX_QUERIES) / 2
    command = (f"python -m tools.ceiling --run_dirs={args.run_dirs} --seeds={args.seeds} "
               f"--language={args.language} --rounds={args.rounds}")
    write_page(results_page(
        "What anyone could retrieve", command,
        TEXT.format(triggers=", ".join(counts), rounds=args.rounds, per_item=per_item,
                    unmatched=float(np.mean(unmatched))),
        ["ranked by", "R@1", "R@10", "R@100", "MRR@100"], table), args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
