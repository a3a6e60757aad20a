"""What hard negatives do to the final fit: batches in groups of one semantic ID, by size of group.

    python -m tools.negatives --run_dir=runs/nopretrain_seed0 --output=runs/negatives \\
        --report=docs/results/negatives.md

Trains the fit of a run (its tree is there, M10 c) once a variant, each in a directory of its own
beside the run's other stages, and measures query-to-item retrieval of d_T. As a control, the run's
dual encoder is trained on in the same batches. What is done is kept.
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
HEADER = ("model", "batches", "steps", *representation.COLUMNS)
GROUPED = "prefix_groups.enabled=True"
BLOCKS = ("prefix_groups.enabled=False",)
TEXT = (
    "Query to item over the whole pool (%), {triggers:,} triggers: the standard error of a recall near "
    "50 is {error:.1f} points. One run each. GSID: d_T after a fit from the same step {level} and tree; "
    "dual encoder, where the run has one: trained on in the same batches. Groups: up to so many "
    "items of one semantic ID, or of one prefix, side by side in a batch, the groups themselves "
    "in random order; half alone: every second item, drawn at random, is a group of its own. Shuffled: "
    "items in random order; in blocks: 4,096 of them at a time, which are windows of 128 neighbours in "
    "the order of their IDs.")


def kinds(level: int) -> Mapping[str, Sequence[str]]:
    """Bindings of the batches that both models are trained with."""
    shared = max(1, level - 1)
    return {"shuffled": (*BLOCKS, f"shuffling.block_records={1 << 30}"),
            "groups of 32": (GROUPED,),
            f"groups of 32, {shared} codes in common": (
                GROUPED, f"prefix_groups.prefix_levels={shared}")}


def variants(counts: Sequence[int], level: int) -> Mapping[tuple[str, int], Sequence[str]]:
    """Bindings of the fits by (name, steps): the extremes for all counts, the rest for the middle."""
    middle = counts[len(counts) // 2]
    rows = {("shuffled in blocks", count): BLOCKS for count in counts}
    rows |= {(f"groups of {size}", middle): (GROUPED, f"GROUP_SIZE={size}") for size in (2, 8)}
    rows |= {("groups of 32", count): (GROUPED,) for count in counts}
    rows |= {(name, middle): bindings for name, bindings in kinds(level).items()}
    return rows | {("groups of 32, half alone", middle): (GROUPED, "prefix_groups.alone=0.5")}


def prepare(run_dir: pathlib.Path, level: int, target: pathlib.Path) -> None:
    """A run directory `target` that has `run_dir`'s stages before the fit."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (*SHARED, f"step_{level}"):
        link = target / name
        if not link.exists():
            link.symlink_to((run_dir / name).resolve())


def train(config: pathlib.Path, target: pathlib.Path, steps: int, bindings: Sequence[str]) -> None:
    """Trains the stage that `config` describes in `target`; UserError if that fails."""
    command = [sys.executable, "-m", "gsid_jax.train", f"--gin_file={config}",
               f"--gin.RUN_DIR={str(target)!r}", f"--gin.TRAIN_STEPS={steps}",
               *(f"--gin.{binding}" for binding in bindings)]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"the training in {target} failed, see above: mend that and start again, "
                        "what is done is kept")


def _folder(name: str, count: int) -> str:
    return f"{name.replace(',', '').replace(' ', '_')}_{count}"


def compare(run_dir: pathlib.Path, output: pathlib.Path, counts: Sequence[int]
            ) -> tuple[list[list[str]], str]:
    """Rows of the table and the page's text."""
    check_run_dir(run_dir)
    if not (run_dir / "fit" / "config.gin").exists():
        raise UserError(f"{run_dir} has no fit/config.gin; expected a run with ASSIGNMENT = 'retree'")
    catalogue = load_catalogue(run_dir / "data")
    texts = representation.triggers_and_pool(catalogue)
    level = trained_model.last_step(run_dir)

    def figures(directory: pathlib.Path, stage: str, vectors: str) -> list[str]:
        found = dict(representation.representations(directory, stage, texts))
        return representation.measure(catalogue, found[vectors])

    d_T, rows = f"d_{level}", []

    def add(model: str, stage: str, vectors: str, target: pathlib.Path, name: str, count: int,
            bindings: Sequence[str]) -> None:
        prepare(run_dir, level, target)
        train(run_dir / stage / "config.gin", target, count, bindings)
        rows.append([model, name, f"{count:,}", *figures(target, stage, vectors)])
        print("  ".join(rows[-1]), flush=True)

    rows.append(["GSID", "before the fit", "", *figures(run_dir, f"step_{level}", d_T)])
    for (name, count), bindings in variants(counts, level).items():
        add("GSID", "fit", d_T, output / _folder(name, count), name, count, bindings)
    dense = run_dir / "dual_encoder"
    if (dense / "model.json").exists():
        count = counts[len(counts) // 2]
        rows.append(["dual encoder", "before", "", *figures(run_dir, dense.name, "pooled")])
        for name, bindings in kinds(level).items():
            target = output / _folder(f"{dense.name} {name}", count)
            add("dual encoder", dense.name, "pooled", target, name, count, [
                *bindings, f"STEP_DIR={str(target / 'tree')!r}",
                f"INITIAL_CHECKPOINT_PATH={str(dense)!r}"])
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
