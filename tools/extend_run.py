"""Trains one more step, or the last one anew, for a finished run, and keeps its published IDs.

    python -m tools.extend_run --run_dir=RUN --output_dir=RUN2 --levels=5

trains step T + 1 (5 here) from the run's step T. Published items keep codes 1..T as they are stored
in RUN/ids and get one code more.

    python -m tools.extend_run --run_dir=RUN --output_dir=RUN2 --refresh --data_dir=NEW_DATA

trains the codebook of step T anew from step T - 1. Published items keep codes 1..T-1; the new codes
get the numbers of the old ones where they hold the same items (--no-match leaves them as they come),
and changed.parquet lists the IDs that changed.

A run whose IDs are a new tree (M10 c, as the quickstart makes) is extended as its tree was made: items
of one published prefix are clustered by the model's vectors, and a short fit follows.

--data_dir gives a dataset of the grown catalogue (tools.build_dataset; the vocabulary stays the
run's); items new in it get the codes that the published model gives them. RUN2 is a run like any
other: infer, evaluate, retrieve and this tool work on it. RUN is only read. Started again after a
kill, the same command goes on. --gin=NAME=VALUE (repeated) changes settings of the training, such
as TRAIN_STEPS; else they are those of the run's step T.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from gsid_jax.errors import UserError
from tools.extension import stability
from tools.extension.extension import of_tree
from tools.extension.step_extension import StepExtension
from tools.extension.tree_extension import TreeExtension


def extend_run(run_dir: str | pathlib.Path, output_dir: str | pathlib.Path, *, levels: int = 0,
               refresh: bool = False, data_dir: str = "", match: bool = True,
               bindings: Sequence[str] = (), seed: int = 0) -> dict[str, Any]:
    """Does what the module says; returns the report, which is RUN2/stability.json, too.

    Raises UserError for a run that is not finished, levels that do not follow on it, and an
    output_dir that holds something else.
    """
    run_dir, output_dir = pathlib.Path(run_dir), pathlib.Path(output_dir)
    if refresh == bool(levels):
        raise UserError(f"got --levels={levels} and refresh {refresh}; expected either "
                        "--levels=T+1 or --refresh")
    if output_dir.resolve() == run_dir.resolve():
        raise UserError(f"--output_dir={output_dir} is the run itself; expected another directory, "
                        "so that the published run stays as it is")
    extension = (TreeExtension if of_tree(run_dir) else StepExtension)(
        run_dir, output_dir, refresh, pathlib.Path(data_dir) if data_dir else run_dir / "data",
        match, bindings, seed)
    if not refresh and levels != extension.published_levels + 1:
        raise UserError(f"--levels={levels}, but run {run_dir} has IDs of "
                        f"{extension.published_levels} codes; expected "
                        f"{extension.published_levels + 1}, one step at a time")
    return extension.execute()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", required=True, help="a finished pipeline run")
    parser.add_argument("--output_dir", required=True, help="the new run")
    parser.add_argument("--levels", type=int, default=0, help="T + 1")
    parser.add_argument("--refresh", action="store_true", help="train step T anew instead")
    parser.add_argument("--data_dir", default="", help="dataset of the grown catalogue")
    parser.add_argument("--match", action=argparse.BooleanOptionalAction, default=True,
                        help="number refreshed codes like the old ones")
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE", dest="bindings",
                        help="a setting of the training; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the records")
    args = parser.parse_args(argv)
    try:
        report = extend_run(**vars(args))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(stability.text(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
