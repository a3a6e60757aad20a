"""How well could anyone retrieve? Ranks with what only the simulator knows, for held-out queries.

    python -m tools.ceiling --run_dirs=runs/marketplace_seed0,runs/marketplace_seed1 \\
        --seeds=0,1 --report=docs/results/ceiling.md

Many fresh queries are drawn for every item of a run's marketplace, by the simulator's own rules and
from what is true of the item (product, attributes, popularity), not from what its listing says. For
each held-out query the items are then ranked by how often, and how strongly, that very query came
up. A second ranking draws what an item's listing does not show (an attribute, the model) anew, as
the simulator would: what a perfect reader of the listings could reach. --run_dirs must be runs on
`tools.simulate`'s data with the seeds given.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from gsid_jax import quiet
from gsid_jax.errors import UserError
from gsid_jax.evaluate import retrieval
from gsid_jax.evaluate.catalogue import Catalogue, load_catalogue
from gsid_jax.evaluate.run import check_run_dir
from gsid_jax.evaluate.tables import RETRIEVAL
from tools import simulate
from tools.ablate import cell
from tools.bench.results_page import results_page, write_page
from tools.marketplace import behaviour, listings, sequences
from tools.marketplace.draws import uniform
from tools.marketplace.listings import Facts
from tools.marketplace.world import Spu, World
from tools.train_seeds import parse_numbers

FIRST_STREAM = 1000  # of the fresh queries; the simulator's own streams are below
HIDDEN_DRAWS = 4  # numbers for what a listing hides
CHUNK_ITEMS = 4096
CHUNK_TRIGGERS = 128
BACK_OFF = 1e-4
TOP = 100
MOST_UNMATCHED = 0.2  # share of queries that never come up; of another seed's it is far larger
TEXT = (
    "Query to item over the whole pool (%), {triggers} held-out queries by seed, {rounds} fresh "
    "rounds of searches. *Everything known*: items ranked by the clicks, contacts and purchases "
    "that this very query draws, given product, attributes and popularity; nothing can do better. "
    "*All facts*: the same without the popularity. *What the listing shows*: attributes that the "
    "text does not name are drawn anew in each round from the product's habits, and where it does "
    "not name the model in a form that people use, the product is drawn from its leaf category (and "
    "brand, if named) by popularity: a perfect reader of listings who knows the market. *Product "
    "known, attributes not*: the scores of an SPU's items are their mean. Ties and items that the "
    "query never drew are ranked by their product's mean (not in the third row), then their "
    "category's. {unmatched:.1%} of "
    "the queries drew nothing at all (typing errors, rare words): a reader who copes with those "
    "could gain a few points on the rows.")


def shows_model(text: str, spu: Spu) -> bool:
    """Whether a text (lower case) names the model in full, shortened or glued together."""
    forms = [spu.model, f"{spu.line.series}{spu.designator.replace(' ', '')}"]
    if spu.line.alias:
        forms.append(f"{spu.line.alias}{'' if spu.line.alias_glued else ' '}{spu.designator}")
    return any(form.lower() in text for form in forms)


class Reader:
    """What the listings of a marketplace tell, and guesses at the rest."""

    def __init__(self, world: World):
        self._world = world

    @functools.lru_cache(maxsize=None)
    def _candidates(self, leaf: int, brand: str | None) -> tuple[np.ndarray, np.ndarray]:
        """SPUs of a leaf, or of one brand in it, and their cumulative shares."""
        spus = np.arange(self._world.leaf_start[leaf], self._world.leaf_start[leaf + 1])
        if brand is not None:
            spus = spus[[self._world.spu(int(spu)).line.brand == brand for spu in spus]]
        total = np.cumsum(self._world.spu_share[spus])
        return spus, total / total[-1]

    def guess(self, text: str, facts: Facts, draws: Sequence[float]) -> Facts:
        """The facts with what the text (lower case) does not show drawn anew."""
        spu = facts.spu
        if not shows_model(text, spu):
            brand = spu.line.brand
            names = (brand, *self._world.language.brand_aliases.get(brand, ()))
            named = any(name.lower() in text for name in names)
            spus, total = self._candidates(spu.leaf_index, brand if named else None)
            spu = self._world.spu(int(spus[np.searchsorted(total, draws[0])]))
        drawn = listings.draw_facts(self._world.language, spu, iter(draws[1:]).__next__)
        return Facts(spu, tuple(
            known if any(surface.lower() in text for surface in known) else new
            for known, new in zip(facts.values, drawn.values)))


def fresh_scores(world: World, numbers: np.ndarray, queries: dict[str, int],
                 rounds: int, known_popularity: bool, texts: Sequence[str] | None = None
                 ) -> np.ndarray:
    """How strongly each query came up for each item, float32 [queries, items].

    Args:
      world: the marketplace.
      numbers: int64 [items], the simulator's number of each item.
      queries: row of each query.
      rounds: how often the behaviour around each item is drawn.
      known_popularity: with each item's own popularity; else a fresh one in each round.
      texts: the listings; what they do not show is drawn in each round. None: all is known.
    """
    scores = np.zeros((len(queries), len(numbers)), np.float32)
    reader = Reader(world)
    width = behaviour.BEHAVIOUR_DRAWS
    for start in range(0, len(numbers), CHUNK_ITEMS):
        part = numbers[start:start + CHUNK_ITEMS]
        facts = simulate.item_facts(world, part)
        popularity = sequences.popularity(world.seed, part).tolist()
        for stream in range(FIRST_STREAM, FIRST_STREAM + rounds):
            rows = uniform(world.seed, stream, part, width + HIDDEN_DRAWS).tolist()
            for column, row in enumerate(rows, start):
                fact, fame = facts[column - start], popularity[column - start]
                if texts is not None:
                    fact = reader.guess(texts[column], fact, row[width + 1:])
                for pair in behaviour.item_pairs(world.language, fact, fact,
                                                 fame if known_popularity else row[width],
                                                 iter(row).__next__):
                    place = queries.get(pair.query)
                    if place is not None:
                        scores[place, column] += pair.weight
    return scores


def group_means(scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Each item's score replaced by the mean over the items of its group, float32 [R, N]."""
    _, label, count = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(count), len(scores)), np.float32)
    np.add.at(sums, label, scores.T)
    return (sums / count[:, None])[label].T


def measure(catalogue: Catalogue, scores: np.ndarray, groups: Sequence[np.ndarray]) -> list[float]:
    """RETRIEVAL of the ranking by these scores, in percent.

    groups: int [N] each; ties go by the mean of the first group, then of the next.
    """
    triggers = catalogue.q2i
    ranked = []
    for start in range(0, len(scores), CHUNK_TRIGGERS):
        part = scores[start:start + CHUNK_TRIGGERS].copy()
        for power, group in enumerate(groups, 1):
            part += BACK_OFF ** power * group_means(scores[start:start + CHUNK_TRIGGERS], group)
        barred = triggers.excluded.slice(start, start + len(part))
        part[barred.rows, barred.values] = 0
        best = retrieval.Best(len(part), TOP, catalogue.tie_rank)
        best.add(*np.nonzero(part), part[np.nonzero(part)])
        ranked.append(best.ranking()[0])
    found = retrieval.summary(np.concatenate(ranked), triggers.relevant)
    return [100 * found[name] for name in RETRIEVAL]


def ceilings(run_dir: pathlib.Path, seed: int, language: str, rounds: int
             ) -> tuple[dict[str, list[float]], int, float]:
    """RETRIEVAL by row of the table, the number of queries, and the share that drew no item."""
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
    spus = world.item_spus(numbers)
    leaves = world.spu_leaf[spus]

    def scores(known_popularity: bool, texts: Sequence[str] | None = None) -> np.ndarray:
        return fresh_scores(world, numbers, queries, rounds, known_popularity, texts)

    best = scores(True)
    unmatched = float((best.max(axis=1) == 0).mean())
    if unmatched > MOST_UNMATCHED:
        raise UserError(f"{unmatched:.0%} of the queries of {run_dir} never come up: it was made "
                        f"with another seed than {seed} or another language, or --rounds={rounds} "
                        "is too small: correct --seeds")
    found = {"everything known": measure(catalogue, best, (spus, leaves))}
    facts = scores(False)
    found["all facts"] = measure(catalogue, facts, (spus, leaves))
    listed = [text.lower() for text in catalogue.text.to_pylist()]
    found["what the listing shows"] = measure(catalogue, scores(False, listed), (leaves,))
    found["product known, attributes not"] = measure(catalogue, group_means(facts, spus), (leaves,))
    return found, len(queries), unmatched


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
        run_dirs, seeds = args.run_dirs.split(","), parse_numbers(args.seeds)
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
    table = [[name, *map(cell, zip(*figures))] for name, figures in rows.items()]
    command = (f"python -m tools.ceiling --run_dirs={args.run_dirs} --seeds={args.seeds} "
               f"--language={args.language} --rounds={args.rounds}")
    write_page(results_page(
        "What anyone could retrieve", command,
        TEXT.format(triggers=", ".join(counts), rounds=args.rounds,
                    unmatched=float(np.mean(unmatched))),
        ["ranked by", "R@1", "R@10", "R@100", "MRR@100"], table), args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
