"""Entry point: judges the semantic IDs and vectors of a pipeline run and prints the tables.

    python -m gsid_jax.evaluate --run_dir=RUN [--tree]

writes RUN/evaluation/metrics.json, from which the tables are printed, and RUN/evaluation/tree.txt.
"""

from absl import flags

from gsid_jax import launch
from gsid_jax.errors import UserError
from gsid_jax.evaluate import tables
from gsid_jax.evaluate.run import evaluate_run

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The directory that the pipeline wrote.")
_TREE = flags.DEFINE_bool("tree", False, "Prints the excerpt of the ID tree too.")


def main(argv: list[str]) -> None:
    """Evaluates the run of the flags."""
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}; expected flags only: --run_dir=RUN")
    if not _RUN_DIR.value:
        raise UserError("no run given; expected --run_dir=RUN, the directory that the pipeline "
                        "wrote")
    evaluate_run(_RUN_DIR.value)
    print(tables.report(_RUN_DIR.value, tree=_TREE.value), end="")


if __name__ == "__main__":
    launch.run(main)
