"""The whole chain on every public data set: converts, trains, evaluates, writes the results page.

    python -m tools.real_data.chain --data_root=DATA --work_dir=runs/real \\
        --page=docs/results/real_data.md

Resumable: what is converted or trained is not done again. Minutes a data set on two CPU cores.
"""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from gsid_jax.errors import UserError
from tools import results_page
from tools.bench.results_page import write_text
from tools.real_data import __main__ as converter

GIN_FILE = "gin_configs/experiments/real_data.gin"
LANGUAGES = {"jd_titles_zh": "zh"}
FILES = {"ITEMS": "items.jsonl", "INTERACTIONS": "interactions.jsonl",
         "Q2I_TEST": "q2i_test.jsonl", "I2I_TEST": "i2i_test.jsonl",
         "SEQUENCES": "sequences.jsonl", "pipeline.Data.item_pairs": "item_pairs.parquet"}
TITLE = "Real data"
INTRO = (
    "Small public data sets through the same commands: do the converters, the chain and the "
    "evaluation hold on real text? None has a search log of the size that the method needs (the "
    "paper trained on 200 million pairs), three have no searches at all, and the model is tiny "
    "(1.3 million parameters, minutes of training), so these tables do not rank methods; each "
    "section says what stands in for searches. The judge of the method is the simulated "
    "marketplace.")


def run(name: str, data_root: pathlib.Path, work_dir: pathlib.Path, training: Sequence[str],
        judging: Sequence[str]) -> None:
    """Converts, trains and evaluates one data set; UserError if a step fails.

    training, judging: further bindings of the pipeline and of the evaluation.
    """
    data = work_dir / "data" / name
    if not (data / "about.json").exists():
        print(f"{name}: converting", flush=True)
        converter.convert(name, data_root / name, data)
    language = f"LANGUAGE={LANGUAGES.get(name, 'en')!r}"
    train_and_evaluate(name, data, work_dir / name, [language, *training], judging)


def train_and_evaluate(name: str, data: pathlib.Path, run_dir: pathlib.Path,
                       training: Sequence[str], judging: Sequence[str]) -> None:
    """Trains and evaluates on the files of `data`, those of FILES that are there.

    training, judging: further bindings of the pipeline and of the evaluation. UserError if a step
    fails; its log is run_dir/log.txt.
    """
    given = [f"{key}={str(path)!r}" for key, file in FILES.items()
             if (path := data / file).exists()]
    print(f"{name}: training, log in {run_dir / 'log.txt'}", flush=True)
    _call(run_dir, "gsid_jax.pipeline", f"--gin_file={GIN_FILE}", f"--gin.RUN_DIR={str(run_dir)!r}",
          *(f"--gin.{binding}" for binding in [*given, *training]))
    print(f"{name}: evaluating", flush=True)
    _call(run_dir, "gsid_jax.evaluate", "--gin_file=gin_configs/runs/evaluate.gin",
          f"--gin.RUN_DIRS=[{str(run_dir)!r}]", f"--gin.TITLE={name!r}",
          *(f"--gin.{binding}" for binding in judging))


def _call(run_dir: pathlib.Path, module: str, *arguments: str) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / "log.txt", "a", encoding="utf-8") as log:
        status = subprocess.run([sys.executable, "-m", module, *arguments], stdout=log,
                                stderr=subprocess.STDOUT, check=False).returncode
    if status:
        last = (run_dir / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise UserError(f"{module} failed with status {status} ({' '.join(last)}); see "
                        f"{run_dir / 'log.txt'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_root", required=True, help="folder with a folder for each set")
    parser.add_argument("--work_dir", required=True)
    parser.add_argument("--names", default=",".join(converter.SOURCES))
    parser.add_argument("--page", default="", help="Markdown file to write")
    for option, of in (("--pipeline_gin", "pipelines"), ("--evaluate_gin", "evaluations")):
        parser.add_argument(option, action="append", default=[], metavar="NAME=VALUE",
                            help=f"a binding of the {of}; may be repeated")
    args = parser.parse_args(argv)
    work_dir, names = pathlib.Path(args.work_dir), args.names.split(",")
    try:
        for name in names:
            if name not in converter.SOURCES:
                raise UserError(f"--names: got {name!r}, expected some of "
                                f"{', '.join(converter.SOURCES)}")
            run(name, pathlib.Path(args.data_root), work_dir, args.pipeline_gin,
                args.evaluate_gin)
        if args.page:
            write_text(args.page, results_page.page(
                TITLE, INTRO, [str(work_dir / name / "evaluation") for name in names],
                [str(work_dir / "data" / name / "about.json") for name in names]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
