"""Kills a small pipeline at random moments of random stages and compares the IDs it ends with.

    python -m tools.soak --output_dir=runs/soak --kills=20 --seed=0 --report=docs/results/soak.md

First the pipeline runs undisturbed, and the time of each stage is taken. Then, for each kill, a
fresh run is started, killed with SIGKILL at a random moment of a random stage, started again with
the same command and let finish (`--kills_per_run` puts several kills into one run). Its item and
query IDs must be those of the undisturbed run, bit for bit.
"""

import argparse
import dataclasses
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tools.bench.results_page import results_page

GIN_FILE = "gin_configs/runs/soak.gin"
STAGE = re.compile(r"^\[(\d+)/(\d+)\] (\w+)$")
STAGE_DONE = re.compile(r"^\[(\d+)/\d+\] (\w+): (\d+) s \(")


@dataclasses.dataclass(frozen=True)
class Kill:
    """When to kill: so many seconds after a stage has begun."""

    stage: str
    after: float


def command(gin_file: str, run_dir: pathlib.Path, bindings: Sequence[str]) -> list[str]:
    """The command that every start of a run uses."""
    return [sys.executable, "-m", "gsid_jax.pipeline", f"--gin_file={gin_file}",
            f"--gin.RUN_DIR={str(run_dir)!r}", *(f"--gin.{binding}" for binding in bindings)]


class Child:
    """One start of the pipeline's command; its lines, the stages it began and how long they took."""

    def __init__(self, gin_file: str, run_dir: pathlib.Path, bindings: Sequence[str],
                 cache: pathlib.Path, kill: Kill | None = None):
        self.lines: list[str] = []
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self._kill = kill
        self._timer: threading.Timer | None = None
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}
        self._process = subprocess.Popen(command(gin_file, run_dir, bindings), env=environment, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self) -> int:
        """Waits for the end; returns the exit status (-9 when killed)."""
        for line in self._process.stdout:
            line = line.rstrip("\n")
            self.lines.append(line)
            begun, done = STAGE.match(line), STAGE_DONE.match(line)
            if begun:
                self.begun[begun[3]] = time.monotonic()
                if self._kill and begun[3] == self._kill.stage:
                    self._timer = threading.Timer(self._kill.after, self._shoot)
                    self._timer.start()
            elif done:
                self.ended[done[2]] = time.monotonic()
        status = self._process.wait()
        if self._timer:
            self._timer.cancel()
        return status

    def _shoot(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def stage_seconds(self) -> dict[str, float]:
        return {name: self.ended[name] - begun for name, begun in self.begun.items()
                if name in self.ended}


def draw_kills(seconds: dict[str, float], count: int, seed: int) -> list[Kill]:
    """Random moments of random stages; every stage in turn before any comes again."""
    generator = random.Random(seed)
    names: list[str] = []
    while len(names) < count:
        names += generator.sample(list(seconds), len(seconds))
    return [Kill(name, round(generator.uniform(0, seconds[name]), 3)) for name in names[:count]]


def identical(run_dir: pathlib.Path, reference: pathlib.Path) -> str | None:
    """None if both runs have the same IDs to the last bit, else what differs."""
    import pyarrow.parquet as pq
    for name in ("items", "queries"):
        ours, theirs = (pq.read_table(path / "ids" / f"{name}.parquet")
                        for path in (run_dir, reference))
        if ours.schema != theirs.schema or ours.num_rows != theirs.num_rows:
            return f"ids/{name}.parquet has other columns or rows"
        for column in ours.column_names:
            if not ours[column].equals(theirs[column]):
                return f"ids/{name}.parquet differs in {column}"
    return None


def soak(*, output_dir: str, gin_file: str = GIN_FILE, kills: int = 20, kills_per_run: int = 1,
         seed: int = 0, bindings: Sequence[str] = (), say=print) -> dict:
    """Does what the module says; returns {'kills': [...], 'runs': [...]} and writes soak.json.

    A soak that was stopped goes on with the runs that are missing. Raises UserError if a run
    fails for another reason than its kill.
    """
    root = pathlib.Path(output_dir)
    root.mkdir(parents=True, exist_ok=True)
    reference, cache = root / "undisturbed", root / "compiled"
    child = Child(gin_file, reference, bindings, cache)
    _finish(child, reference)
    seconds = child.stage_seconds()
    timing = root / "stage_seconds.json"
    if seconds:
        write_json(timing, seconds)
    else:  # finished by an earlier soak
        from gsid_jax.manifest import read_json
        seconds = read_json(timing, "delete the output directory to start anew")
    say("undisturbed: " + ", ".join(f"{name} {s:.1f} s" for name, s in seconds.items()))
    drawn = draw_kills(seconds, kills, seed)
    runs = []
    for number, start in enumerate(range(0, kills, kills_per_run), 1):
        run_dir = root / f"run_{number:02d}"
        shots = sorted(drawn[start:start + kills_per_run],
                       key=lambda kill: list(seconds).index(kill.stage))
        hit = []
        for kill in shots:
            begun = time.monotonic()
            child = Child(gin_file, run_dir, bindings, cache, kill)
            status = child.run()
            if status not in (0, -signal.SIGKILL):
                _fail(child, run_dir, status)
            hit.append({"stage": kill.stage, "after": kill.after, "killed": status != 0,
                        "in": next(reversed(child.begun), None),
                        "run_for": round(time.monotonic() - begun, 1)})
        _finish(Child(gin_file, run_dir, bindings, cache), run_dir)
        difference = identical(run_dir, reference)
        runs.append({"run": number, "kills": hit, "identical": difference is None,
                     "difference": difference})
        say(f"run {number}: killed in " + ", ".join(
            f"{h['in']} ({h['stage']} + {h['after']:.1f} s)" for h in hit if h["killed"])
            + f": {'identical' if difference is None else difference}")
        write_json(root / "soak.json", {"seed": seed, "stage_seconds": seconds, "runs": runs})
    return {"seed": seed, "stage_seconds": seconds, "runs": runs}


def _finish(child: Child, run_dir: pathlib.Path) -> None:
    status = child.run()
    if status:
        _fail(child, run_dir, status)


def _fail(child: Child, run_dir: pathlib.Path, status: int) -> None:
    raise UserError(f"the run in {run_dir} ended with status {status}: "
                    f"{' | '.join(child.lines[-3:])}; expected it to finish: see what it printed")


def report(result: dict, command: str) -> str:
    """The results page."""
    runs = result["runs"]
    killed = [hit for run in runs for hit in run["kills"] if hit["killed"]]
    same = sum(run["identical"] for run in runs)
    rows = [[run["run"], ", ".join(f"{h['in']}, {h['after']:.1f} s after {h['stage']} began"
                                   if h["killed"] else "(the run ended before the kill)"
                                   for h in run["kills"]),
             "identical" if run["identical"] else run["difference"]] for run in runs]
    return results_page(
        "Killed at random moments", command,
        f"{len(killed)} kills (SIGKILL) in {len(runs)} runs of the pipeline, seed "
        f"{result['seed']}: the item and query IDs of **{same} of {len(runs)}** runs equal those "
        "of the undisturbed run bit for bit.", ["run", "killed in", "IDs"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit status 1 if a run failed or ended with other IDs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", default="runs/soak")
    parser.add_argument("--gin_file", default=GIN_FILE)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kills_per_run", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--report", default="", help="Markdown file to write")
    args = parser.parse_args(argv)
    try:
        if args.kills < 1 or args.kills_per_run < 1:
            raise UserError(f"--kills={args.kills} --kills_per_run={args.kills_per_run}; expected "
                            "both at least 1")
        result = soak(output_dir=args.output_dir, gin_file=args.gin_file, kills=args.kills,
                      kills_per_run=args.kills_per_run, seed=args.seed, bindings=args.gin)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.report:
        pathlib.Path(args.report).write_text(
            report(result, "python -m tools.soak " + shlex.join(argv or sys.argv[1:])),
            encoding="utf-8")
    return 0 if all(run["identical"] for run in result["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
