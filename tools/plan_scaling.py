"""Writes the scaling page: weak scaling, large batches and an epoch, from compiled programs.

    python -m tools.plan_scaling --output_dir=runs/plans --report=docs/results/scaling.md

Every row is one `python -m tools.plan_launch`, a process of its own whose JSON is kept in
`--output_dir`: a script that was stopped goes on with the rows that are missing.
"""

import argparse
import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.errors import UserError
from gsid_jax.manifest import read_json
from tools.launch_plan.chips import GIB
from tools.bench.results_page import results_page, table

SAMPLES = 200_000_000
PER_CHIP = 16  # items a chip of the weak scaling
WEAK = ("v5e:2x4", "v5e:4x4", "v5e:4x8", "v5e:8x8", "v5e:8x16", "v5e:16x16")
# topology, level, global batch, further bindings
LARGE = (("v5e:16x16", 1, 4096, ()), ("v5e:16x16", 1, 8192, ()),
         ("v5e:16x16", 1, 32768, ("NUM_CHUNKS=4", "SIMILARITY_BLOCK=8192")))
EPOCH = (("v5e:16x16", 1, 4096, ()), ("v5e:16x16", 4, 4096, ()),
         ("h100:32", 1, 4096, ()), ("h100:32", 4, 4096, ()))
HEADER = ("topology", "step t", "batch", "options", "mesh", "GiB a chip", "TFLOP a chip",
          "exchanged MiB", "compute ms", "HBM ms", "exchange ms", "step ms", "at best ms")


def plan(directory: pathlib.Path, topology: str, level: int, batch: int,
         options: Sequence[str] = ()) -> Mapping[str, Any]:
    """The plan of one row, made or read; UserError if it cannot be made."""
    words = [topology, f"t{level}", str(batch), *options]
    path = directory / ("_".join(words).replace(":", "_").replace("=", "_") + ".json")
    command = [sys.executable, "-m", "tools.plan_launch",
               "--gin_file=gin_configs/models/mengzi_base.gin",
               f"--gin_file=gin_configs/runs/gsid_step_{level}.gin", "--gin.RUN_DIR='unused'",
               "--gin.SCAN_LAYERS=True", f"--gin.BATCH_SIZE={batch}",
               "--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'queries': 32}",
               *(f"--gin.{option}" for option in options), f"--topology={topology}",
               f"--samples={SAMPLES}", "--meshes=config", f"--json={path}"]
    if not path.exists():
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True,
                              check=False)
        if not path.exists():
            words = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{shlex.join(command[1:])} failed: {words}")
    return read_json(path, "delete it to make it again")


def row(made: Mapping[str, Any], options: Sequence[str] = ()) -> list[str]:
    """One row of the first tables."""
    (program,) = made["programs"]
    start = [made["topology"], str(made["level"]), f"{made['batch_size']:,}",
             ", ".join(options) or "-", program["mesh"]]
    if "seconds" not in program:
        return start + [f"does not fit: {program['reason']}"] + ["-"] * 7
    seconds = program["seconds"]
    size = f"{program['memory']['total'] / GIB:.2f}" + ("" if program["fits"] else " (too much)")
    return start + [
        size, f"{program['flops'] / 1e12:.3f}",
        f"{sum(c['bytes'] for c in program['collectives']) / 2**20:,.0f}",
        *(f"{seconds[name] * 1e3:.1f}" for name in
          ("compute", "memory", "collectives", "step", "at_best"))]


def epoch_row(made: Mapping[str, Any]) -> list[str]:
    """One row of the table of epochs."""
    (program,) = made["programs"]
    start = [made["topology"], str(made["chips"]), str(made["level"]), f"{made['batch_size']:,}"]
    if "epoch" not in program:
        return start + ["does not fit", "-", "-"]
    return start + [f"{program['seconds']['step'] * 1e3:.1f}", f"{program['epoch']['hours']:.2f}",
                    f"{program['epoch']['chip_hours']:,.0f}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", default="runs/plans")
    parser.add_argument("--report", default="", help="Markdown file to write")
    args = parser.parse_args(argv)
    directory = pathlib.Path(args.output_dir)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        weak, large, epochs = [], [], []
        for topology in WEAK:
            chips = 1
            for size in topology.partition(":")[2].split("x"):
                chips *= int(size)
            weak.append(row(plan(directory, topology, 1, PER_CHIP * chips)))
            print(" | ".join(weak[-1]), flush=True)
        for topology, level, batch, options in LARGE:
            large.append(row(plan(directory, topology, level, batch, options), options))
            print(" | ".join(large[-1]), flush=True)
        for topology, level, batch, options in EPOCH:
            try:
                epochs.append(epoch_row(plan(directory, topology, level, batch, options)))
            except UserError as error:  # a compiler that cannot: the page says so
                print(f"warning: {error}", file=sys.stderr)
                epochs.append([topology, "-", str(level), f"{batch:,}",
                               "not planned: " + str(error).rpartition("failed: ")[2][:160], "-", "-"])
            print(" | ".join(epochs[-1]), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.report:
        path = pathlib.Path(args.report)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(weak, large, epochs, argv), encoding="utf-8")
    return 0


def page(weak, large, epochs, argv) -> str:
    """The results page."""
    more = "\n".join([
        "## v5e-256 at large global batches", "", table(HEADER, large),
        f"## An epoch of {SAMPLES:,} items", "",
        table(("topology", "chips", "step t", "batch", "step ms", "hours", "chip-hours"), epochs),
        "Hours are those of the roofline without overlap, at peak rates: a real run takes "
        "longer by its distance from the roofline. h100:32 is the program of a TPU v5p slice of "
        "32 chips priced at an H100's rates (NVLink in hosts of 8, one 400 Gbit/s card a GPU).",
        "The paper used 32 A800."])
    return results_page(
        "Scaling, planned from compiled programs",
        "python -m tools.plan_scaling " + shlex.join(sys.argv[1:] if argv is None else argv),
        "mengzi_base with scanned layers (SCAN_LAYERS=True), item length 128, query length 32, two "
        "queries an item, bf16, AdamW, dropout 0.1: the real train step compiled ahead of time "
        "with libtpu, nothing run. Step: the roofline without overlap of exchanges; at best: with "
        f"perfect overlap.\n\n## Weak scaling: {PER_CHIP} items a chip", HEADER, weak, more)


if __name__ == "__main__":
    sys.exit(main())
