"""Entry point: judges semantic IDs and vectors, compares methods and writes the report.

    python -m gsid_jax.evaluate --run_dir=RUN [--tree]
    python -m gsid_jax.evaluate --gin_file=gin_configs/runs/evaluate.gin \\
        --gin.RUN_DIRS="['runs/seed0', 'runs/seed1']"

The first judges one run beside the quick baselines, the second what the gin file lists, over
several runs. Both write RUN/evaluation/metrics.json and tree.txt for each run and, in the first
run's evaluation/ or OUTPUT_DIR, comparison.json, tables.txt, tables.md and report.html.
"""

from absl import flags

from gsid_jax import launch
from gsid_jax.errors import UserError
from gsid_jax.evaluate import paper_tables, tables
from gsid_jax.evaluate.comparison import Evaluation, compare

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The directory that the pipeline wrote.")
_TREE = flags.DEFINE_bool("tree", False, "Prints the excerpt of the ID tree too.")


def main(argv: list[str]) -> None:
    """Evaluates the run of the flags, or what the gin file says."""
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}; expected flags only: --run_dir=RUN, or "
                        "--gin_file=FILE")
    values = flags.FLAGS
    if values.gin_file:
        bindings = list(values.gin_bindings)
        if _RUN_DIR.value:
            bindings.append(f"RUN_DIRS = [{_RUN_DIR.value!r}]")
        launch.start(argv, bindings)
        from gsid_jax import gin_setup
        evaluation = gin_setup.evaluation()
    elif _RUN_DIR.value:
        evaluation = Evaluation(run_dirs=[_RUN_DIR.value])
    else:
        raise UserError("no run given; expected --run_dir=RUN, the directory that the pipeline "
                        "wrote, or --gin_file=gin_configs/runs/evaluate.gin")
    result = compare(evaluation)
    own = result["methods"].get(evaluation.reference)
    if len(evaluation.run_dirs) == 1 and own and own["has_ids"]:
        print(tables.report(evaluation.run_dirs[0], tree=_TREE.value))
    print(paper_tables.text(result), end="")


if __name__ == "__main__":
    launch.run(main)
