"""Tests the drift monitor on simulated marketplaces: false alarms, and drift that must be found.

    python -m tools.drift_experiment --output_dir=runs/drift --report=docs/results/drift.md

Trains one run on a simulated marketplace without a top-level category and without a tenth of the
other items, and gives `tools.drift` parts of: the tenth ('same'), the category ('new category'), a
mixture of them ('a quarter new'), and a marketplace in the other language. Items and their
interactions go through `gsid_jax.infer` and the monitor as a user's would.
"""

import argparse
import collections
import dataclasses
import json
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.evaluate import drift as statistics
from gsid_jax.infer import infer
from gsid_jax.manifest import hardware, versions, write_json
from gsid_jax.published_ids import PublishedIds, read_ids
from tools import drift, simulate
from tools.ablate import run_variant, today

SAME, NEW, MIXED, LANGUAGE = "same", "new category", "a quarter new", "other language"
WITHHELD = 0.1  # of the other items
OTHER = {"en": "zh", "zh": "en"}
NEEDED = 300  # items of the withheld category, at least


def _records(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: pathlib.Path, records: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records),
                    encoding="utf-8")
    return str(path)


def split(directory: pathlib.Path, num_items: int, seed: int, language: str, category: str) -> str:
    """Writes the parts' items and interactions under ``directory``; returns the category."""
    known = directory / "split.json"
    if known.exists():
        return json.loads(known.read_text(encoding="utf-8"))["category"]
    for name, count in ((language, num_items), (OTHER[language], simulate.MIN_ITEMS)):
        if not (directory / f"raw_{name}").exists():
            simulate.simulate(str(directory / f"raw_{name}"), count, seed, name)
    raw = directory / f"raw_{language}"
    top = {record["item_id"]: record["category"][0] for record in
           _records(raw / "truth" / "items.jsonl")}
    sizes = collections.Counter(top.values())
    large = sorted((size, name) for name, size in sizes.items() if size >= NEEDED)
    if not large or (category and category not in sizes):
        raise UserError(f"--category={category}: top-level categories and their items are "
                        f"{dict(sizes)}; expected one of them, of {NEEDED} items or more")
    category = category or large[0][1]
    random = np.random.default_rng(seed)
    part = {item: NEW if name == category else SAME if random.random() < WITHHELD else "training"
            for item, name in top.items()}
    for name in ("items", "interactions"):
        records = _records(raw / f"{name}.jsonl")
        for which in ("training", SAME, NEW):
            _write(directory / f"{which.replace(' ', '_')}_{name}.jsonl",
                   [record for record in records if part[record["item_id"]] == which])
        _write(directory / f"{LANGUAGE.replace(' ', '_')}_{name}.jsonl",
               _records(directory / f"raw_{OTHER[language]}" / f"{name}.jsonl"))
    write_json(known, {"category": category})
    return category


@dataclasses.dataclass(frozen=True)
class Batch:
    """Items with IDs, and their fresh pairs."""

    ids: PublishedIds
    pairs: statistics.Pairs

    def part(self, chosen: np.ndarray) -> "Batch":
        place = np.full(len(self.ids.codes), -1)
        place[chosen] = np.arange(len(chosen))
        mine = place[self.pairs.item] >= 0
        ids = dataclasses.replace(self.ids, codes=self.ids.codes[chosen],
                                  level_probs=self.ids.level_probs[chosen])
        return Batch(ids, statistics.Pairs(self.pairs.agree[mine], self.pairs.item[mine]))


def encode(run_dir: pathlib.Path, directory: pathlib.Path, name: str, encoder: Any) -> Batch:
    """IDs and pairs of a part, by the commands a user has."""
    stem = name.replace(" ", "_")
    output = directory / f"{stem}_ids.parquet"
    if not output.exists():
        print(infer(run_dir=str(run_dir), input=str(directory / f"{stem}_items.jsonl"),
                    output=str(output)), flush=True)
    ids = read_ids(output)
    known = {key: row for row, key in enumerate(ids.key.to_pylist())}
    queries, query, item, _ = drift.read_pairs(directory / f"{stem}_interactions.jsonl", known)
    codes = encoder.encode(queries, "query")["codes"]
    return Batch(ids, statistics.Pairs.of(codes[query], ids.codes[item], item))


def mixed(batches: Mapping[str, Batch], size: int, random: np.random.Generator) -> Batch:
    """A quarter of the new category among items like those of the training."""
    parts = [batches[name].part(random.choice(len(batches[name].ids.codes), count, False))
             for name, count in ((SAME, size - size // 4), (NEW, size // 4))]
    ids = dataclasses.replace(parts[0].ids, **{
        name: np.concatenate([getattr(part.ids, name) for part in parts])
        for name in ("codes", "level_probs")})
    item = np.concatenate([2 * part.pairs.item + number for number, part in enumerate(parts)])
    return Batch(ids, statistics.Pairs(np.concatenate([part.pairs.agree for part in parts]), item))


def verdicts(reference: drift.Reference, batches: Mapping[str, Batch], sizes: Sequence[int],
             repeats: int, limits: statistics.Limits) -> str:
    """A Markdown table: how often each verdict was given, by part and number of items."""
    lines = ["| items | batch size | batches | retrain | watch | no drift | signals that alarmed |",
             "|---|---|---|---|---|---|---|"]
    random = np.random.default_rng(limits.seed)
    for name in (SAME, MIXED, NEW, LANGUAGE):
        for size in sizes:
            if name != MIXED and size > len(batches[name].ids.codes):
                continue
            if name == MIXED and size - size // 4 > len(batches[SAME].ids.codes):
                continue
            counts, causes = collections.Counter(), collections.Counter()
            for _ in range(repeats):
                batch = mixed(batches, size, random) if name == MIXED else batches[name].part(
                    random.choice(len(batches[name].ids.codes), size, False))
                signals = drift.signals_of(reference, batch.ids, batch.pairs, limits)
                counts[statistics.verdict(signals)] += 1
                causes.update({signal.name for signal in signals if signal.alarm})
            shares = " | ".join(f"{counts[each] / repeats:.0%}" for each in (
                statistics.RETRAIN, statistics.WATCH, statistics.NONE))
            said = ", ".join(f"{cause} {count / repeats:.0%}" for cause, count in
                             sorted(causes.items())) or "-"
            lines.append(f"| {name} | {size:,} | {repeats} | {shares} | {said} |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def experiment(args: argparse.Namespace) -> str:
    """Runs everything; returns the body of the report."""
    directory = pathlib.Path(args.output_dir)
    directory.mkdir(parents=True, exist_ok=True)
    category = split(directory, args.num_items, args.seed, args.language, args.category)
    run_dir = directory / "run"
    bindings = [f"ITEMS={str(directory / 'training_items.jsonl')!r}",
                f"INTERACTIONS={str(directory / 'training_interactions.jsonl')!r}",
                f"LANGUAGE={args.language!r}"]
    print("training", flush=True)
    run_variant(args.gin_file, run_dir, bindings, args.seed, args.gin)
    reference = drift.load_reference(run_dir)
    from gsid_jax import trained_model
    encoder = trained_model.load_run(run_dir).encoder()
    batches = {name: encode(run_dir, directory, name, encoder) for name in (SAME, NEW, LANGUAGE)}
    limits = statistics.Limits(resamples=args.resamples, seed=args.seed)
    table = verdicts(reference, batches, [int(size) for size in args.sizes.split(",")],
                     args.repeats, limits)
    text = (f"The run knows {len(reference.ids.codes):,} items ({args.language}); '{NEW}' is "
            f"\"{category}\" ({len(batches[NEW].ids.codes):,} items), '{SAME}' has "
            f"{len(batches[SAME].ids.codes):,} items. Chance of any false alarm set to "
            f"{limits.alpha:.0%}.\n\n{table}")
    for name in (SAME, NEW, LANGUAGE):
        stem = name.replace(" ", "_")
        result = drift.check(run_dir, str(directory / f"{stem}_ids.parquet"),
                             str(directory / f"{stem}_interactions.jsonl"), limits)
        text += (f"\nThe whole of '{name}' (exit status {result['exit_status']}):\n\n```\n"
                 f"{drift.table(result)}\n```\n")
    return text


def report(body: str, command: str, seed: int) -> str:
    """The results page."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items()
                         if name in ("jax", "flax", "numpy"))
    explanation = " ".join(__doc__.split("\n\n")[2].split())
    return (f"# The drift monitor on simulated marketplaces\n\nMade by `{command}` on {today()}, "
            f"seed {seed}, {hardware()}, {software}.\n\n"
            f"{explanation}\n\n{body}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", default="runs/drift")
    parser.add_argument("--gin_file", default="gin_configs/runs/ablation.gin")
    parser.add_argument("--num_items", type=int, default=8000)
    parser.add_argument("--language", default="en", choices=sorted(OTHER))
    parser.add_argument("--category", default="", help="withheld; default: the smallest large one")
    parser.add_argument("--sizes", default="30,100,300", help="items of a batch")
    parser.add_argument("--repeats", type=int, default=40, help="batches of each kind and size")
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--report", default="", help="Markdown file to write")
    args = parser.parse_args(argv)
    try:
        body = experiment(args)
        print(body)
        if args.report:
            path = pathlib.Path(args.report)
            path.parent.mkdir(parents=True, exist_ok=True)
            command = "python -m tools.drift_experiment " + shlex.join(argv or sys.argv[1:])
            path.write_text(report(body, command, args.seed), encoding="utf-8")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
