"""Trains variants of one pipeline configuration over seeds and tabulates them side by side.

    python -m tools.ablate --output_dir=runs/ablations --seeds=0,1 \\
        --report=docs/results/recipe.md

Variants are runs of `gsid_jax.pipeline`, each a process and a RUN_DIR of its own, one after the
other on the same machine, resumable. The collapse guard only warns in them: a collapsed variant
is a row of the table, with its perplexity. The table is made from the runs' metrics.json.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence

from gsid_jax.errors import UserError
from gsid_jax.manifest import versions, write_json

# What is changed against the default; one setting at a time.
VARIANTS: Mapping[str, Sequence[str]] = {
    "default": (),
    "paper's literal recipe": (
        "GSIDModel.balance='none'", "GSIDModel.argmax_ce_weight=0.0",
        "GSIDModel.alignment_direction='p||q'", "GSIDModel.distillation_weight=0.0",
        "GSIDModel.retain_in_first_phase=False", "CodebookConfig.lookup='dot'",
        "CodebookConfig.temperature=1.0", "CodebookConfig.start='normal'",
        "CodebookConfig.centring=0.0", "CodebookConfig.revive_below=0.0"),
    "without balance (M6)": ("GSIDModel.balance='none'",),
    "balance weight 1 at every step": ("GSIDModel.balance_weight=1.0",),
    "without centring (M8)": ("CodebookConfig.centring=0.0",),
    "without distillation (M9)": ("GSIDModel.distillation_weight=0.0",),
    "without alignment (M3)": ("GSIDModel.alignment_weight=0.0",),
    "hard cross-entropy instead of KL": ("GSIDModel.alignment_direction='hard'",),
    "without argmax cross-entropy (M7)": ("GSIDModel.argmax_ce_weight=0.0",),
    "one query an item": ("sampling.queries_per_item=1",),
    "random batches": ("prefix_groups.enabled=False",),
    "without pre-training": ("Pipeline.pretrain_gin=''",),
}

COLUMNS = (  # header, path in metrics.json
    ("l1 ppl", "codes.l1.perplexity"), ("l2 cond.", "codes.l2.conditional_perplexity"),
    ("keep 2", "codes.l2.keep"), ("l1 corr.", "code_accuracy.l1.corrected"),
    ("l2 corr.", "code_accuracy.l2.corrected"),
    ("AMI 1/1", "ami.prefix1.category1"), ("q2i R@1", "q2i.recall@1"),
    ("R@10", "q2i.recall@10"), ("R@100", "q2i.recall@100"))


def figure(metrics: Mapping, path: str) -> float | None:
    """A number of metrics.json by its dotted path; None where the run has none."""
    value = metrics
    for key in path.split("."):
        if key not in value:
            return None
        value = value[key]
    return float(value)


def cell(values: Sequence[float | None]) -> str:
    """Mean and, for several seeds, standard deviation."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    digits = 1 if max(known) >= 2 else 3
    text = f"{statistics.fmean(known):.{digits}f}"
    return text + (f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else "")


def table(results: Mapping[str, Sequence[Mapping]]) -> str:
    """Markdown: one row a variant, mean ± standard deviation over its seeds."""
    lines = ["| variant | " + " | ".join(header for header, _ in COLUMNS) + " |",
             "|---|" + "---|" * len(COLUMNS)]
    for name, runs in results.items():
        cells = [cell([figure(run, path) for run in runs]) for _, path in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")


def run_variant(gin_file: str, run_dir: pathlib.Path, bindings: Sequence[str], seed: int,
                extra: Sequence[str]) -> Mapping:
    """Runs (or finishes) one pipeline and returns its metrics; UserError if it fails."""
    metrics = run_dir / "evaluation" / "metrics.json"
    command = [sys.executable, "-m", "gsid_jax.pipeline", f"--gin_file={gin_file}",
               f"--gin.RUN_DIR={str(run_dir)!r}", f"--gin.RANDOM_SEED={seed}",
               "--gin.CollapseGuard.mode='warn'",
               *(f"--gin.{binding}" for binding in (*extra, *bindings))]
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / "log.txt", "a", encoding="utf-8") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if status.returncode:
        tail = (run_dir / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise UserError(f"{run_dir}: the run failed with status {status.returncode} "
                        f"({' '.join(tail)}); see log.txt there")
    return json.loads(metrics.read_text(encoding="utf-8"))


def report(results: Mapping[str, Sequence[Mapping]], command: str, seeds: Sequence[int]) -> str:
    """The results page: what was run, where, with what, and the table."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    data = next(run["data"] for runs in results.values() for run in runs)
    counts = ", ".join(f"{name} {value:,}" for name, value in data.items()
                       if isinstance(value, int) and not isinstance(value, bool))
    return (f"# The recipe, one change at a time\n\nMade by `{command}` on {today()}, seeds "
            f"{', '.join(map(str, seeds))}, {os.cpu_count()} CPU cores ({platform.machine()}), "
            f"{software}.\n\nData: {counts}.\n\nmean ± standard deviation over seeds; ppl: "
            "perplexity; cond.: conditional perplexity; corr.: code accuracy of held-out pairs "
            "corrected for chance; keep: share of items whose earlier codes survive the step; AMI "
            "1/1: level 1 against category level 1. Judge agreement only at like branching: a "
            "collapsed or leaking variant agrees perfectly.\n\n" + table(results))


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gin_file", default="gin_configs/runs/ablation.gin")
    parser.add_argument("--output_dir", default="runs/ablations")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--variants", default="", help="comma-separated; default: all")
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE",
                        help="a binding of all variants; may be repeated")
    parser.add_argument("--report", default="", help="Markdown file to write")
    args = parser.parse_args(argv)
    try:
        _run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> None:
    names = [n.strip() for n in args.variants.split(",") if n.strip()] or list(VARIANTS)
    for name in names:
        if name not in VARIANTS:
            raise UserError(f"--variants: got {name!r}, expected some of {list(VARIANTS)}")
    seeds = [int(seed) for seed in args.seeds.split(",")]
    results: dict[str, list[Mapping]] = {name: [] for name in names}
    for seed in seeds:  # seeds outside: a stopped script leaves whole columns
        for name in names:
            directory = pathlib.Path(args.output_dir) / f"{slug(name)}_{seed}"
            results[name].append(run_variant(args.gin_file, directory, VARIANTS[name], seed,
                                             args.gin))
            print(table({name: results[name]}), flush=True)
            write_json(pathlib.Path(args.output_dir) / "results.json", results)
    if args.report:
        path = pathlib.Path(args.report)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report(results, "python -m tools.ablate " + shlex.join(sys.argv[1:]), seeds),
                        encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
