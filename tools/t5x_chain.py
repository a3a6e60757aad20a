"""Runs the chain under T5X on a simulated marketplace and writes docs/results/t5x.md.

    python -m tools.t5x_chain --run_dir=runs/t5x --report=docs/results/t5x.md

Our pipeline makes data and vocabulary, T5X pre-trains and trains two steps, our pipeline assigns
the codes between them, writes the IDs and evaluates them; t5x.infer and t5x.eval read the last
checkpoint, and both launchers train the same 20 steps. Needs T5X (docs/t5.md); about ten minutes
on two cores. Stages that are done are not run again.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import time

from gsid_jax.errors import UserError
from gsid_jax.manifest import hardware

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "gin_configs/models/quickstart.gin"
SIZES = {"NUM_LEVELS": 2, "VOCAB_SIZE": 1024, "DROPOUT_RATE": 0.0, "BATCH_SIZE": 64}
STEPS = {"pretrain": 150, "step_1": 150, "step_2": 100}
RATES = {"pretrain": 0.03, "step_1": 0.02, "step_2": 0.01}
LENGTHS = {"pretrain": {"inputs": 32, "targets": 24}, "step": {"inputs": 32, "queries": 12}}
LOSSES = 20  # that both launchers are compared over
NUM_ITEMS = 2000


def gin_flags(**values) -> list[str]:
    """`--gin.NAME=value` flags."""
    return [f"--gin.{name}={value!r}" for name, value in values.items()]


class Chain:
    """The commands, their logs under RUN_DIR/logs, and what they printed."""

    def __init__(self, run_dir: str):
        self.dir = pathlib.Path(run_dir).resolve()
        (self.dir / "logs").mkdir(parents=True, exist_ok=True)
        self.commands: list[tuple[str, float]] = []

    def run(self, name: str, module: str, *arguments: str) -> str:
        """Runs `python -m module`, unless its log says that it ended well; returns the log."""
        log = self.dir / "logs" / f"{name}.log"
        command = ["python", "-m", module, *arguments]
        shown = " ".join(command).replace(str(self.dir), "RUN").replace(f"{ROOT}", ".")
        done = log.with_suffix(".seconds")
        if not done.exists():
            print(f"{name}: {shown}", flush=True)
            begun = time.monotonic()
            environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS":
                                        os.environ.get("JAX_PLATFORMS", "cpu")}
            with open(log, "w", encoding="utf-8") as file:
                status = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, stdout=file,
                                        stderr=subprocess.STDOUT, env=environment,
                                        check=False).returncode
            if status:
                tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-5:])
                raise UserError(f"{name} ended with status {status}; expected 0: see {log}\n{tail}")
            done.write_text(f"{time.monotonic() - begun:.0f}")
        self.commands.append((shown, float(done.read_text())))
        return log.read_text(encoding="utf-8")

    def pipeline(self, until: str) -> str:
        """Our pipeline up to a stage."""
        return self.run(f"pipeline_{until}", "gsid_jax.pipeline",
                        "--gin_file=gin_configs/runs/quickstart.gin", *gin_flags(
                            RUN_DIR=str(self.dir), NUM_ITEMS=NUM_ITEMS, VOCABULARY_SIZE=1000,
                            NUM_LEVELS=SIZES["NUM_LEVELS"]),
                        f"--gin.Pipeline.until={until!r}")

    def launch(self, launcher: str, stage: str, name: str = "", **values) -> str:
        """Trains a stage by 't5x' or by 'gsid_jax'."""
        file = "pretrain" if stage == "pretrain" else f"gsid_{stage}"
        folder = "t5x" if launcher == "t5x" else "runs"
        flags = gin_flags(**({
            **SIZES, "RUN_DIR": str(self.dir), "TRAIN_STEPS": STEPS[stage],
            "LEARNING_RATE": RATES[stage], "WARMUP_STEPS": 10,
            "TASK_FEATURE_LENGTHS": LENGTHS[stage.split("_")[0]]} | (
                {} if stage == "pretrain" else {"CONTRASTIVE_ONLY_STEPS": 30}) | values))
        flags.append("--gin_search_paths=." if launcher == "t5x"
                     else "--gin.OPTIMIZER=@optimizers.adafactor()")
        return self.run(name or stage, f"{launcher}.train", f"--gin_file={MODEL}",
                        f"--gin_file=gin_configs/{folder}/{file}.gin", *flags)

    def train(self, stage: str) -> str:
        """A stage of the chain, by T5X."""
        recipe = {} if stage == "pretrain" else {
            "CodebookConfig.centring": 0.5, "GSIDModel.balance_weight": 3.0}
        return self.launch("t5x", stage, STATS_PERIOD=25, EVAL_PERIOD=STEPS[stage], EVAL_STEPS=4,
                           CHECKPOINT_PERIOD=STEPS[stage], **recipe)

    def compare(self, stage: str) -> list[tuple[float, float]]:
        """Losses of the first steps by both launchers, from the same weights."""
        start = {"pretrain": None, "step_1": str(self.dir / "pretrain")}[stage]
        common = {"TRAIN_STEPS": LOSSES, "INITIAL_CHECKPOINT_PATH": start}
        if start is None:
            self.launch("gsid_jax", stage, "start", TRAIN_STEPS=1, WARMUP_STEPS=0,
                        LEARNING_RATE=0.0, MODEL_DIR=str(self.dir / "start"), EVAL_PERIOD=10**6)
            common["INITIAL_CHECKPOINT_PATH"] = str(self.dir / "start")
        theirs = self.dir / f"compare_{stage}_t5x"
        self.launch("t5x", stage, theirs.name, MODEL_DIR=str(theirs), STATS_PERIOD=1,
                    EVAL_PERIOD=LOSSES, EVAL_STEPS=1, CHECKPOINT_PERIOD=LOSSES, **common)
        ours = self.dir / f"compare_{stage}_ours"
        extra = {"EVAL_PERIOD": 10**6} if stage == "pretrain" else {"GUARD": "off"}
        self.launch("gsid_jax", stage, ours.name, MODEL_DIR=str(ours), LOG_PERIOD=1,
                    **common, **extra, **{"checkpoints.SaveCheckpointConfig.period": LOSSES})
        return list(zip(losses(theirs / "train"), losses(ours / "tensorboard"), strict=True))


def losses(folder: pathlib.Path) -> list[float]:
    """The losses of TensorBoard's event files, by step."""
    from gsid_jax import quiet
    quiet.tensorflow()
    import tensorflow as tf
    found = {}
    for path in sorted(folder.rglob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag in ("loss", "train/loss"):
                    found[event.step] = float(tf.make_ndarray(value.tensor))
    return [found[step] for step in sorted(found)]


def excerpt(log: str, names: tuple[str, ...]) -> str:
    """The figures that T5X logged, a line a report."""
    lines = []
    for step, where, text in re.findall(r"logging_writer\.py:\d+\] \[(\d+)\] collection=(\S+) (.*)",
                                        log):
        found = dict(re.findall(r"([\w/]+)=([-\d.e]+)", text))
        shown = [f"{name} {float(found[name]):.3f}" for name in names if name in found]
        if shown and "loss" in found:
            lines.append(f"[{step}] {where}  " + "  ".join(shown))
    return "\n".join(lines)


def same_ids(chain: Chain) -> tuple[int, int]:
    """Items whose ID is the same from t5x.infer and from our pipeline, and items in all."""
    import pyarrow.parquet as pq
    ours = pq.read_table(chain.dir / "ids" / "items.parquet", columns=["item_id", "path"])
    ours = dict(zip(ours["item_id"].to_pylist(), ours["path"].to_pylist()))
    file, = (chain.dir / "t5x_ids").glob("gsid_items-predict_with_aux.jsonl-00000-of-00001")
    theirs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return sum(ours[row["id"]] == row["path"] for row in theirs), len(theirs)


def evaluation(chain: Chain) -> dict[str, float]:
    """What t5x.eval measured."""
    found = {}
    for path in (chain.dir / "t5x_eval").rglob("*-metrics.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            found |= json.loads(line)
    return found


def report(chain: Chain, logs: dict[str, str], compared: dict[str, list[tuple[float, float]]],
           command: str) -> str:
    """The results page."""
    from gsid_jax.evaluate import tables
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in (
        "t5x", "jax", "flax", "orbax-checkpoint", "seqio", "tensorflow", "numpy"))
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    same, count = same_ids(chain)
    worst = {stage: max(abs(a - b) / abs(b) for a, b in pairs) for stage, pairs in compared.items()}
    rows = [f"| {i + 1} | " + " | ".join(f"{a:.5f} | {b:.5f}" for a, b in row) + " |"
            for i, row in enumerate(zip(*compared.values()))]
    names = ("loss", "token_accuracy", "contrastive", "alignment", "commitment", "distillation",
             "perplexity", "conditional_perplexity", "query_accuracy")
    parts = [
        "# The chain under T5X", "",
        f"Made by `{command}` on {day}: {NUM_ITEMS:,} simulated listings, seed 0, "
        f"{hardware()}, {versions} (t5x from its git head).",
        "", "T5X trains pre-training and two steps with its Adafactor, partitioner and "
        "checkpoints; our pipeline assigns the codes in between, writes the IDs and evaluates.",
        "", "## Commands", "", "```"]
    parts += [f"{shown}  # {seconds:.0f} s" for shown, seconds in chain.commands]
    parts += ["```", "", "Seconds are wall time of a machine that did other work too.", ""]
    for stage, log in logs.items():
        parts += [f"## {stage}: what T5X logged", "", "```", excerpt(log, names), "```", ""]
    parts += [
        "## Its IDs, by our evaluate", "", "```", tables.report(chain.dir), "```", "",
        "## t5x.infer and t5x.eval", "",
        f"t5x.infer gives {same:,} of {count:,} items the ID that our pipeline wrote. t5x.eval on "
        "the validation queries and their items: " + ", ".join(
            f"{name} {value:.3f}" for name, value in sorted(evaluation(chain).items())
            if isinstance(value, float)) + ".", "",
        f"## The first {LOSSES} losses of both launchers", "",
        "The same data, weights and rates; T5X with its Adafactor, ours with optax's. Largest "
        "relative difference: " + ", ".join(f"{stage} {value:.1e}" for stage, value in
                                            worst.items()) + ".", "",
        "| step | " + " | ".join(f"{stage} T5X | {stage} ours" for stage in compared) + " |",
        "|---|" + "---|---|" * len(compared), *rows, ""]
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--run_dir", required=True, help="directory for everything")
    parser.add_argument("--report", default="", help="Markdown file to write")
    args = parser.parse_args(argv)
    command = "python -m tools.t5x_chain " + " ".join(sys.argv[1:] if argv is None else argv)
    try:
        chain = Chain(args.run_dir)
        chain.pipeline("vocab")
        logs = {"pretrain": chain.train("pretrain"), "step_1": chain.train("step_1")}
        chain.pipeline("assign_1")
        logs["step_2"] = chain.train("step_2")
        chain.pipeline("evaluate")
        common = {**SIZES, "RUN_DIR": str(chain.dir), "CHECKPOINT_PATH": str(chain.dir / "step_2"),
                  "TASK_FEATURE_LENGTHS": {"inputs": 32}, "CodebookConfig.centring": 0.5}
        for command_name, place in (("infer", "INFER_OUTPUT_DIR"), ("eval", "EVAL_OUTPUT_DIR")):
            folder = {"infer": "t5x_ids", "eval": "t5x_eval"}[command_name]
            chain.run(command_name, f"t5x.{command_name}", "--gin_search_paths=.",
                      f"--gin_file={MODEL}", f"--gin_file=gin_configs/t5x/{command_name}.gin",
                      *gin_flags(**common, **{place: str(chain.dir / folder)}))
        compared = {stage: chain.compare(stage) for stage in ("pretrain", "step_1")}
        text = report(chain, logs, compared, command.replace(str(chain.dir), "RUN"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.report:
        pathlib.Path(args.report).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(args.report).write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
