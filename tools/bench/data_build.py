"""Measures preparation of data from raw files: validate, build and swing, at two sizes.

    python -m tools.bench.data_build --work_dir=DIR --output=docs/results/data.md \\
        [--sizes=116000,1160000] [--swing_items=1260000]

simulates marketplaces under DIR (kept, and used again), runs the commands of a user on each as
processes of their own, and writes time, memory and cost per record as a page. 1,160,000 listings
come with 5.2 million interactions, 1,260,000 with a million sequences.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

from gsid_jax.manifest import hardware, write_json
from tools.bench.results_page import write_page

FILES = ("items", "interactions", "sequences", "q2i_test", "i2i_test")


def measured(name: str, command: list[str], log: pathlib.Path) -> dict[str, float]:
    """Runs a command; seconds, CPU seconds and peak memory in GB. RuntimeError if it fails."""
    begun = time.monotonic()
    with open(log, "ab") as out:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{name} failed, see {log}")
    return {"seconds": time.monotonic() - begun, "cpu": usage.ru_utime + usage.ru_stime,
            "gb": usage.ru_maxrss / 2**20}


def simulated(work: pathlib.Path, items: int, seed: int) -> pathlib.Path:
    """The raw files of a marketplace of a size, made if they are not there."""
    raw = work / f"raw_{items}_{seed}"
    if not (raw / "simulation.json").exists():
        subprocess.run([sys.executable, "-m", "tools.simulate", f"--output_dir={raw}",
                        f"--num_items={items}", f"--seed={seed}"], check=True)
    return raw


def options(raw: pathlib.Path) -> list[str]:
    """The options that name the files of a marketplace."""
    return [*(f"--{kind}={raw / kind}.jsonl" for kind in FILES),
            f"--truth={raw / 'truth' / 'items.jsonl'}"]


def run_size(work: pathlib.Path, items: int, seed: int) -> dict:
    """Validates and builds a marketplace."""
    raw, log = simulated(work, items, seed), work / f"log_{items}.txt"
    sizes = json.loads((raw / "simulation.json").read_text())["sizes"]
    validate = measured("validate", ["tools.validate", *options(raw),
                                     f"--json={work / f'report_{items}.json'}"], log)
    output = work / f"data_{items}"
    shutil.rmtree(output, ignore_errors=True)
    build = measured("build", ["tools.build_dataset", *options(raw), f"--output_dir={output}"], log)
    written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    shutil.rmtree(output)
    return {"sizes": sizes, "validate": validate, "build": build, "written_gb": written / 2**30}


def run_swing(work: pathlib.Path, items: int, seed: int) -> dict:
    """Swing over the sequences of a marketplace."""
    raw = simulated(work, items, seed)
    sizes = json.loads((raw / "simulation.json").read_text())["sizes"]
    found = measured("swing", ["tools.swing_i2i", f"--sequences={raw / 'sequences.jsonl'}",
                               f"--output={work / 'similar.parquet'}"], work / "log_swing.txt")
    return {"sequences": sizes["sequences"], "swing": found}


def page(results: list[dict], swing: dict | None, command: str) -> str:
    """The results page."""
    lines = ["# Preparing data: time and memory", "",
             f"Written by `{command}` on {datetime.date.today()}; {hardware()}, "
             f"Python {platform.python_version()}, simulator seed 0. Times "
             "are of whole commands, imports included; memory is the peak of the process.", "",
             "| items | interactions | sequences | validate | build | both | peak memory | written | "
             "build CPU per interaction |", "|---|---|---|---|---|---|---|---|---|"]
    for found in results:
        sizes, validate, build = found["sizes"], found["validate"], found["build"]
        both = validate["seconds"] + build["seconds"]
        lines.append(
            f"| {sizes['items']:,} | {sizes['interactions']:,} | {sizes['sequences']:,} | "
            f"{validate['seconds']:.0f} s (CPU {validate['cpu']:.0f} s) | {build['seconds']:.0f} s "
            f"(CPU {build['cpu']:.0f} s) | {both:.0f} s | "
            f"{max(validate['gb'], build['gb']):.2f} GB | {found['written_gb']:.2f} GB | "
            f"{1e6 * build['cpu'] / sizes['interactions']:.1f} us |")
    if swing:
        cost = swing["swing"]
        lines += ["", f"Swing (top 100, default caps) over {swing['sequences']:,} sequences: "
                  f"{cost['seconds']:.0f} s (CPU {cost['cpu']:.0f} s), {cost['gb']:.2f} GB."]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work_dir", required=True, type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, help="page to write; default: print it")
    parser.add_argument("--sizes", default="116000,1160000", help="listings, separated by commas")
    parser.add_argument("--swing_items", type=int, default=1_260_000,
                        help="listings of the marketplace whose sequences swing reads; 0: none")
    args = parser.parse_args(argv)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    results = [run_size(args.work_dir, int(items), 0) for items in args.sizes.split(",") if items]
    swing = run_swing(args.work_dir, args.swing_items, 0) if args.swing_items else None
    write_json(args.work_dir / "data_build.json", {"sizes": results, "swing": swing})
    command = "python -m tools.bench.data_build --work_dir=DIR " + (
        f"--sizes={args.sizes} --swing_items={args.swing_items}")
    text = page(results, swing, command)
    write_page(text, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
