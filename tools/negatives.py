"""What hard negatives do to the final fit: batches in groups of one semantic ID, by size of group.

    python -m tools.negatives --run_dir=runs/nopretrain_seed0 --output=runs/negatives \\
        --report=docs/results/negatives.md

Trains the fit of a run (its tree is there, M10 c) once a variant, each in a directory of its own
beside the run's other stages, and measures query-to-item retrieval of d_T. What is done is kept.
"""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

from gsid_jax import quiet, trained_model
from gsid_jax.errors import UserError
from gsid_jax.evaluate.catalogue import load_catalogue
from gsid_jax.evaluate.run import check_run_dir
from tools import representation
from tools.bench.results_page import results_page, write_page
from tools.train_seeds import parse_numbers

SHARED = ("data", "vocab", "tree")
HEADER = ("batches", "steps", *representation.COLUMNS)
TEXT = (
    "Query to item over the whole pool (%) with d_T after the fit, {triggers:,} triggers: the standard "
    "error of a recall near 50 is {error:.1f} points. One run each, all from the same step {level} "
    "and tree. Groups: up to so many items of one semantic ID side by side in a batch, the groups "
    "themselves in random order. Shuffled: items in random order.")


def variants(counts: Sequence[int]) -> Mapping[tuple[str, int], Sequence[str]]:
    """Bindings by (name, steps): smaller groups at the middle count only."""
    grouped, middle = "prefix_groups.enabled=True", counts[len(counts) // 2]
    rows = {("shuffled", count): ["prefix_groups.enabled=False"] for count in counts}
    rows |= {(f"groups of {size}", middle): [grouped, f"GROUP_SIZE={size}"] for size in (2, 8)}
    return rows | {("groups of 32", count): [grouped, "GROUP_SIZE=32"] for count in counts}


def prepare(run_dir: pathlib.Path, level: int, target: pathlib.Path) -> None:
    """A run directory `target` that has `run_dir`'s stages before the fit."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (*SHARED, f"step_{level}"):
        link = target / name
        if not link.exists():
            link.symlink_to((run_dir / name).resolve())


def train(run_dir: pathlib.Path, target: pathlib.Path, steps: int, bindings: Sequence[str]) -> None:
    """Trains the fit in `target`; UserError if that fails."""
    command = [sys.executable, "-m", "gsid_jax.train", f"--gin_file={run_dir}/fit/config.gin",
               f"--gin.RUN_DIR={str(target)!r}", f"--gin.TRAIN_STEPS={steps}",
               *(f"--gin.{binding}" for binding in bindings)]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"the fit in {target} failed, see above: mend that and start again, what "
                        "is done is kept")


def compare(run_dir: pathlib.Path, output: pathlib.Path, counts: Sequence[int]
            ) -> tuple[list[list[str]], str]:
    """Rows of the table and the page's text."""
    check_run_dir(run_dir)
    if not (run_dir / "fit" / "config.gin").exists():
        raise UserError(f"{run_dir} has no fit/config.gin; expected a run with ASSIGNMENT = 'retree'")
    catalogue = load_catalogue(run_dir / "data")
    texts = representation.triggers_and_pool(catalogue)
    level = trained_model.last_step(run_dir)

    def figures(directory: pathlib.Path, stage: str) -> list[str]:
        found = dict(representation.representations(directory, stage, texts))
        return representation.measure(catalogue, found[f"d_{level}"])

    rows = [["before the fit", "", *figures(run_dir, f"step_{level}")]]
    for (name, count), bindings in variants(counts).items():
        target = output / f"{name.replace(' ', '_')}_{count}"
        prepare(run_dir, level, target)
        train(run_dir, target, count, bindings)
        rows.append([name, f"{count:,}", *figures(target, "fit")])
        print("  ".join(rows[-1]), flush=True)
    triggers = len(catalogue.q2i.index)
    return rows, TEXT.format(triggers=triggers, error=50 / triggers ** 0.5, level=level)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", type=pathlib.Path, required=True, help="a pipeline run with a fit")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--steps", default="300,900,2000", help="of the fit, comma-separated")
    parser.add_argument("--report", type=pathlib.Path, help="page to write")
    args = parser.parse_args(argv)
    quiet.tensorflow()
    try:
        rows, text = compare(args.run_dir, args.output, parse_numbers(args.steps, "--steps", "300,900"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = (f"python -m tools.negatives --run_dir={args.run_dir} --output={args.output} "
               f"--steps={args.steps}")
    write_page(results_page("Hard negatives in the fit", command, text, HEADER, rows), args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
