"""Trains a small click model with and without semantic IDs as features, and tabulates the gain.

    python -m tools.ctr_example --run_dir=RUN --seeds=0,1,2 --report=docs/results/ctr.md

The clicks are the views of the run's user sequences that have a past. A user's last view is the
test, the one before validation, the earlier ones training; the features of an event are made from
the user's views before it alone. What was shown and not clicked is not logged, so it is drawn,
--negatives per click and the same for every variant: items clicked by others in the same part of
the data, as popular as the clicked ones ('popular'); or such of the clicked item's category of
--near_level ('near'), a page of similar things.
"""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import rankdata

from gsid_jax.errors import UserError
from gsid_jax.evaluate.catalogue import load_catalogue
from gsid_jax.manifest import hardware, versions
from tools.ablate import cell, today
from tools.ctr import events as clicks
from tools.ctr import features, network

TOP_UNITS, HALF_LIFE = 8, 4.0
EPOCHS = 12
COLUMNS = ("AUC", "log-loss", "AUC, items without a training click")


def auc(scores: np.ndarray, click: np.ndarray) -> float:
    """Chance that a clicked row scores above one that is not; ties count half."""
    positive = click > 0.5
    count = int(positive.sum())
    if not 0 < count < len(click):
        return float("nan")
    rank_sum = rankdata(scores)[positive].sum()
    return float((rank_sum - count * (count + 1) / 2) / (count * (len(click) - count)))


def load_events(run_dir: pathlib.Path) -> clicks.Events:
    """The events of the run's sequences."""
    path = run_dir / "data" / "sequences.parquet"
    if not path.is_file():
        raise UserError(f"{path} is missing; expected the views of users: build the dataset with "
                        "--sequences (docs/data_format.md)")
    lists = pq.read_table(path, columns=["item_indices"])["item_indices"].combine_chunks()
    return clicks.events_of(lists.values.to_numpy(), lists.offsets.to_numpy().astype(np.int64))


class Comparison:
    """Examples of one kind of negatives and one seed, the same for all variants."""

    def __init__(self, events: clicks.Events, negatives: np.ndarray, num_items: int):
        self.events = events
        shown = np.concatenate([events.item[:, None], negatives], axis=1)
        self.item = shown.reshape(-1)
        self.event = np.repeat(np.arange(len(shown)), shown.shape[1])
        self.click = np.zeros(len(self.item), np.float32)
        self.click[::shown.shape[1]] = 1.0
        seen = np.bincount(events.item[events.split == 0], minlength=num_items)
        self.cold = seen[self.item] == 0
        past = np.bincount(events.past_event, minlength=len(events.item))[self.event]
        self.dense = np.log1p(np.stack([seen[self.item], past], axis=1)).astype(np.float32)

    def run(self, units: features.Units, seed: int, epochs: int = EPOCHS) -> dict[str, float]:
        """Trains one variant and returns its test figures by ``COLUMNS``."""
        made = [self.events.units(column, TOP_UNITS, HALF_LIFE) for column in units.label.T]
        unit_ExCxT, weight_ExCxT = (np.stack(part, axis=1) for part in zip(*made))

        def rows(split: int, chosen: np.ndarray | None = None) -> network.Rows:
            at = np.flatnonzero(self.events.split[self.event] == split)
            at = at if chosen is None else at[chosen[at]]
            return network.Rows(units.label[self.item[at]], self.event[at], self.click[at],
                                unit_ExCxT, weight_ExCxT, self.dense[at])

        logits = network.train(units.sizes, rows(0), rows(1), seed, epochs)
        test, cold = rows(2), rows(2, self.cold)
        scores = logits(test)
        return dict(zip(COLUMNS, (auc(scores, test.click), network.log_loss(scores, test.click),
                                  auc(logits(cold), cold.click) if len(cold) else float("nan"))))

    def matches(self, label_N: np.ndarray) -> tuple[float, float]:
        """Share of clicked and of other test rows whose unit is one of the user's past."""
        units, weights = self.events.units(label_N, TOP_UNITS, HALF_LIFE)
        test = np.flatnonzero(self.events.split[self.event] == 2)
        label = label_N[self.item[test]][:, None]
        same = (units[self.event[test]] == label) & (weights[self.event[test]] > 0)
        found = (same & (label >= network.FIRST_REAL)).any(axis=1)
        return tuple(float(found[self.click[test] == value].mean()) for value in (1, 0))


def compare(run_dir: pathlib.Path, seeds: Sequence[int], count: int, near_level: int,
            names: Sequence[str], epochs: int) -> str:
    """The tables of the report as Markdown."""
    events, catalogue = load_events(run_dir), load_catalogue(run_dir / "data")
    variants = features.variants(run_dir)
    unknown = [name for name in names if name not in variants]
    if unknown:
        raise UserError(f"--variants: got {unknown[0]!r}, expected some of {list(variants)}")
    variants = {name: variants[name] for name in names or variants}
    depth = catalogue.category.shape[1]
    if not 0 <= near_level <= depth:
        raise UserError(f"--near_level={near_level}; expected 1 to {depth}, a level of the "
                        "dataset's categories, or 0 for 'popular' only")
    places = {"popular": None}
    if near_level:
        places[f"near (same level-{near_level} category)"] = catalogue.category[:, near_level - 1]
    counts = [int((events.split == split).sum()) for split in range(3)]
    text = (f"Clicks: {counts[0]:,} for training, {counts[1]:,} for validation, {counts[2]:,} for "
            f"the test; {count} negatives each.\n")
    for kind, place in places.items():
        results: dict[str, list[Mapping[str, float]]] = {name: [] for name in variants}
        for seed in seeds:
            comparison = Comparison(events, clicks.draw_negatives(events, count, seed, place),
                                    len(catalogue.item_id))
            for name, units in variants.items():
                results[name].append(comparison.run(units, seed, epochs))
                print(f"{kind}, seed {seed}, {name}: " + ", ".join(
                    f"{column} {value:.4f}" for column, value in results[name][-1].items()),
                    flush=True)
        text += (f"\n## Negatives: {kind}\n\n" + _table(results)
                 + "\n" + _match_table(comparison, variants))
    return text


def _table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    base = results.get(features.ITEM_ID)
    lines = ["| features | " + " | ".join(COLUMNS) + " | AUC gain |",
             "|---|" + "---|" * (len(COLUMNS) + 1)]
    for name, runs in results.items():
        gain = "-" if base is None or name == features.ITEM_ID else cell(
            [run["AUC"] - start["AUC"] for run, start in zip(runs, base)])
        cells = [cell([run[column] for run in runs]) for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} | {gain} |")
    return "\n".join(lines) + "\n"


def _match_table(comparison: Comparison, variants: Mapping[str, features.Units]) -> str:
    """Why: how often a row's unit is in the user's past, by level, clicked against not."""
    lines = ["How often the item's unit is among those of the user's past (test rows, last seed):",
             "", "| features | level | units | clicked | not clicked |", "|---|---|---|---|---|"]
    for name, units in variants.items():
        if " + " in name and "product" not in name:
            continue  # its columns are those of two other rows
        for level, label_N in enumerate(units.label.T):
            if level or name == features.ITEM_ID:
                clicked, other = comparison.matches(label_N)
                known = len(np.unique(label_N[label_N >= network.FIRST_REAL]))
                lines.append(f"| {name} | {level or 'item'} | {known:,} | {clicked:.1%} | "
                             f"{other:.1%} |")
    return "\n".join(lines) + "\n"


def report(tables: str, command: str, run_dir: pathlib.Path, seeds: Sequence[int]) -> str:
    """The results page."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items()
                         if name in ("jax", "flax", "optax", "numpy"))
    explanation = " ".join(line.strip() for line in __doc__.split("\n\n")[2].splitlines())
    return (f"# Semantic IDs as features of a click model\n\nMade by `{command}` on {today()}, "
            f"seeds {', '.join(map(str, seeds))}, {hardware()}, "
            f"{software}. mean ± standard deviation over seeds (of "
            f"negatives and network together).\n\n{explanation} In the simulated marketplace nobody "
            "views an item twice, so that without units there is nothing to go by: an AUC of about "
            f"0.5 and the log-loss of the share of clicks.\n\n{tables}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--negatives", type=int, default=4, help="drawn per click")
    parser.add_argument("--near_level", type=int, default=2, help="category level of 'near', 0: leave it out")
    parser.add_argument("--variants", default="", help="comma-separated; default: all")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="at most")
    parser.add_argument("--report", default="", help="Markdown file to write")
    args = parser.parse_args(argv)
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
        names = [name.strip() for name in args.variants.split(",") if name.strip()]
        tables = compare(pathlib.Path(args.run_dir), seeds, args.negatives, args.near_level, names,
                         args.epochs)
        print(tables)
        if args.report:
            path = pathlib.Path(args.report)
            path.parent.mkdir(parents=True, exist_ok=True)
            command = "python -m tools.ctr_example " + shlex.join(argv or sys.argv[1:])
            path.write_text(report(tables, command, pathlib.Path(args.run_dir), seeds),
                            encoding="utf-8")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
