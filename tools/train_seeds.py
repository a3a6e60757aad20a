"""Trains one pipeline configuration once per seed, each into a run directory of its own.

    python -m tools.train_seeds --gin_file=gin_configs/experiments/marketplace.gin \\
        --output=runs/marketplace --seeds=0,1,2

leaves runs/marketplace_seed0, _seed1 and _seed2. The data are the same in all (DATA_SEED), the
seed is that of training (RANDOM_SEED); with --new_data each seed simulates a marketplace of its
own. Started again, it skips what is done and goes on from what was cut off. Evaluate the runs
together with python -m gsid_jax.evaluate.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from gsid_jax.errors import UserError


def command(gin_file: str, output: str, seed: int, bindings: Sequence[str],
            new_data: bool = False) -> list[str]:
    """The pipeline's command line for one seed."""
    data = [f"--gin.DATA_SEED={seed}"] if new_data else []
    return [sys.executable, "-m", "gsid_jax.pipeline", f"--gin_file={gin_file}",
            f"--gin.RUN_DIR={f'{output}_seed{seed}'!r}", f"--gin.RANDOM_SEED={seed}", *data,
            *(f"--gin.{binding}" for binding in bindings)]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status, that of the first run that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gin_file", default="gin_configs/experiments/marketplace.gin")
    parser.add_argument("--output", default="runs/marketplace",
                        help="RUN_DIR of each seed is OUTPUT_seedN")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--new_data", action="store_true",
                        help="the seed is the data's, too (DATA_SEED)")
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE",
                        help="a binding of all runs; may be repeated")
    args = parser.parse_args(argv)
    try:
        for seed in parse_numbers(args.seeds):
            print(f"seed {seed}: {args.output}_seed{seed}", flush=True)
            status = subprocess.run(command(args.gin_file, args.output, seed, args.gin,
                                            args.new_data), check=False).returncode
            if status:
                return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse_numbers(text: str, option: str = "--seeds", example: str = "0,1,2") -> list[int]:
    """'0,1,2' as numbers; UserError for anything else."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"{option}: got {text!r}, expected numbers such as {example}") from None


if __name__ == "__main__":
    sys.exit(main())
