"""Trains variants of one pipeline configuration over seeds and tabulates them side by side.

    python -m tools.ablate --output_dir=runs/ablations --seeds=0,1 \\
        --report=docs/results/recipe.md

Variants are runs of `gsid_jax.pipeline`, each a process and a RUN_DIR of its own, one after the
other on the same machine, resumable. Stages that come out the same are taken over from the runs
before. The collapse guard only warns: a collapsed variant is a row of the table, marked as such.
The table is made from the metrics.json of all runs in the directory, those of earlier calls
included; the page names what is missing. With --variants=none only the page is written.
"""

import argparse
import datetime
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence

from gsid_jax.errors import UserError
from gsid_jax.manifest import hardware, versions
from tools.ablation_variants import DEFAULT, VARIANTS
from tools.train_seeds import parse_numbers

COLUMNS = (  # header, path in metrics.json
    ("l1 ppl", "codes.l1.perplexity"), ("l2 cond.", "codes.l2.conditional_perplexity"),
    ("keep 2", "codes.l2.keep"), ("IDs", "ids.distinct"),
    ("l1 corr.", "code_accuracy.l1.corrected"), ("l2 corr.", "code_accuracy.l2.corrected"),
    ("cate1 AMI", "ami_headline.cate1_AMI"), ("cate4 AMI", "ami_headline.cate4_AMI"),
    ("R@1", "q2i.recall@1"), ("R@10", "q2i.recall@10"), ("R@100", "q2i.recall@100"),
    ("MRR@100", "q2i.mrr@100"))
COUNTS = ("codes.l1.perplexity", "codes.l2.conditional_perplexity", "ids.distinct")
NOTE = (
    "Percentages, mean ± standard deviation over seeds; ppl: perplexity; cond.: conditional "
    "perplexity; keep: items whose earlier codes survive the step; corr.: code accuracy of held-out "
    "pairs corrected for chance; AMI as in metrics.json (`ami_headline`). Judge agreement only at "
    "like branching: a collapsed or leaking variant agrees perfectly.")

Results = Mapping[str, Mapping[int, Mapping]]  # metrics by variant and seed


def figure(metrics: Mapping, path: str) -> float | None:
    """A number of metrics.json by its dotted path, shares as percentages; None if it has none."""
    value = metrics
    for key in path.split("."):
        if key not in value:
            return None
        value = value[key]
    return float(value) * (1 if path in COUNTS else 100)


def cell(values: Sequence[float | None]) -> str:
    """Mean and, for several seeds, standard deviation."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    digits = 0 if max(known) > 100 else 1
    text = f"{statistics.fmean(known):,.{digits}f}"
    return text + (f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else "")


def flags(runs: Sequence[Mapping]) -> str:
    """What is wrong with a variant's codes in any seed: COLLAPSED, LEAK or nothing."""
    found = [name for name, key in (("COLLAPSED", "collapsed"), ("LEAK", "leak"))
             if any(level.get(key) for run in runs for level in run.get("codes", {}).values())]
    return "".join(f" **{name}**" for name in found)


def table(results: Results) -> str:
    """Markdown: one row a variant, mean ± standard deviation over its seeds."""
    lines = ["| variant | seeds | " + " | ".join(header for header, _ in COLUMNS) + " |",
             "|---|---|" + "---|" * len(COLUMNS)]
    for name, by_seed in results.items():
        runs = list(by_seed.values())
        cells = [cell([figure(run, path) for run in runs]) for _, path in COLUMNS]
        lines.append(f"| {name}{flags(runs)} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def slug(name: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in name.lower().replace("'", "")).split()
    return "_".join(words)


def run_directory(output_dir: str, name: str, seed: int) -> pathlib.Path:
    return pathlib.Path(output_dir) / f"{slug(name)}_{seed}"


def run_variant(gin_file: str, run_dir: pathlib.Path, bindings: Sequence[str], seed: int,
                donors: Sequence[pathlib.Path]) -> Mapping:
    """Runs (or finishes) one pipeline and returns its metrics; UserError if it fails."""
    metrics = run_dir / "evaluation" / "metrics.json"
    command = [sys.executable, "-m", "gsid_jax.pipeline", f"--gin_file={gin_file}",
               f"--gin.RUN_DIR={str(run_dir)!r}", f"--gin.RANDOM_SEED={seed}",
               "--gin.CollapseGuard.mode='warn'",
               f"--gin.Pipeline.reuse={[str(donor) for donor in donors]!r}",
               *(f"--gin.{binding}" for binding in bindings)]
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / "log.txt", "a", encoding="utf-8") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if status.returncode:
        tail = (run_dir / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise UserError(f"{run_dir}: the run failed with status {status.returncode} "
                        f"({' '.join(tail)}); see log.txt there")
    return json.loads(metrics.read_text(encoding="utf-8"))


def donors_of(output_dir: str, names: Sequence[str], seed: int) -> list[pathlib.Path]:
    """Runs of the same seed that stages may be taken over from, the default's first."""
    ordered = sorted(names, key=lambda name: name != DEFAULT)
    return [directory for name in ordered
            if ((directory := run_directory(output_dir, name, seed)) / "manifest.json").exists()]


def collect(output_dir: str) -> dict[str, dict[int, Mapping]]:
    """The metrics of every finished run in the directory."""
    results: dict[str, dict[int, Mapping]] = {}
    for name in VARIANTS:
        prefix = slug(name) + "_"
        for path in sorted(pathlib.Path(output_dir).glob(f"{prefix}*/evaluation/metrics.json")):
            seed = path.parent.parent.name.removeprefix(prefix)
            if seed.isdigit():
                metrics = json.loads(path.read_text(encoding="utf-8"))
                results.setdefault(name, {})[int(seed)] = metrics
    return results


def report(results: Results, command: str, seeds: Sequence[int], gin_file: str) -> str:
    """The results page: what was run, where, with what, the table, and what is missing."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    data = next(run["data"] for runs in results.values() for run in runs.values())
    counts = ", ".join(f"{name} {value:,}" for name, value in data.items()
                       if isinstance(value, int) and not isinstance(value, bool))
    missing = [f"{name} (seed {', '.join(map(str, lacking))})" for name in VARIANTS
               if (lacking := [s for s in seeds if s not in results.get(name, {})])]
    gaps = ("Not run yet, the same command adds them: " + "; ".join(missing) + ".\n\n"
            if missing else "")
    return (f"# The recipe, one change at a time\n\nMade by `{command}` on {today()}, configuration "
            f"`{gin_file}`, {hardware()}, {software}.\n\nData: "
            f"{counts}.\n\n{NOTE}\n\n{table(results)}\n{gaps}")


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gin_file", default="gin_configs/runs/ablation.gin")
    parser.add_argument("--output_dir", default="runs/ablations")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--variants", default="", help="comma-separated names or "
                        "numbers (--list); default: all; 'none': the page only")
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE",
                        help="a binding of all variants; may be repeated")
    parser.add_argument("--report", default="", help="Markdown file to write")
    parser.add_argument("--list", action="store_true", help="prints the variants")
    args = parser.parse_args(argv)
    if args.list:
        print("\n".join(f"{number:3d}  {name}" for number, name in enumerate(VARIANTS)))
        return 0
    try:
        _run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def chosen(text: str) -> list[str]:
    """The variants that --variants asks for, in the table's order."""
    if not text.strip():
        return list(VARIANTS)
    if text.strip() == "none":
        return []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    names = list(VARIANTS)
    for part in parts:
        if part not in VARIANTS and not (part.isdigit() and int(part) < len(names)):
            raise UserError(f"--variants: got {part!r}, expected some of {names}, or their numbers "
                            "(--list)")
    picked = {names[int(part)] if part.isdigit() else part for part in parts}
    return [name for name in names if name in picked]


def _run(args: argparse.Namespace) -> None:
    names = chosen(args.variants)
    seeds = parse_numbers(args.seeds)
    for seed in seeds:  # seeds outside: a stopped script leaves whole columns
        for name in names:
            directory = run_directory(args.output_dir, name, seed)
            donors = [each for each in donors_of(args.output_dir, list(VARIANTS), seed)
                      if each != directory]
            metrics = run_variant(args.gin_file, directory, (*args.gin, *VARIANTS[name]), seed,
                                  donors)
            print(table({name: {seed: metrics}}), flush=True)
    results = collect(args.output_dir)
    if not results:
        raise UserError(f"--output_dir={args.output_dir} holds no finished run; expected at least "
                        "one: train some variants first")
    print(table(results))
    if args.report:
        path = pathlib.Path(args.report)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = report(results, "python -m tools.ablate " + shlex.join(sys.argv[1:]), seeds,
                      args.gin_file)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
