"""How a train step's cost grows: with batch, length, model size, K, level t and devices.

    python -m tools.bench.sweep --report=docs/results/sweep.md --json=runs/bench/sweep.json

One thing at a time is changed against the first row. On CPU "devices" are virtual ones on the same
cores: what grows is the cost of splitting, nothing gets faster.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tools.bench import running, shapes
from tools.bench.results_page import results_page, write_text

BASE = {"size": "tiny", "B": 64, "Q": 2, "L": 32, "Lq": 16, "t": 1, "K": 128}
CHANGES: Sequence[Mapping[str, Any]] = (
    {}, {"B": 128}, {"B": 256}, {"L": 64}, {"L": 128}, {"K": 512}, {"K": 2048},
    {"t": 2}, {"t": 4}, {"size": "small", "B": 16}, {"size": "base", "B": 16})
DEVICES = (2, 4, 8)
HEADER = ("changed", "ms a step", "CPU s", "GFLOP a step", "GFLOP/s", "items/s", "PyTorch ms")


def row(changed: str, ours: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> list[str]:
    return [changed, running.milliseconds(ours), f"{ours['cpu_seconds']:.3f}",
            f"{ours['flops'] / 1e9:,.2f}", f"{ours['flops'] / ours['seconds'] / 1e9:,.1f}",
            f"{shapes.case(**ours['case']).B / ours['seconds']:,.0f}",
            running.milliseconds(theirs) if theirs else "-"]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--changes", type=int, default=len(CHANGES), help="the first so many")
    parser.add_argument("--json", default="")
    parser.add_argument("--report", default="")
    args = parser.parse_args(argv)
    rows, results = [], []
    try:
        for change in CHANGES[:args.changes]:
            found = running.side_by_side({**BASE, **change}, "train", args.calls,
                                         rounds=args.rounds)
            name = ", ".join(f"{k} = {v}" for k, v in change.items()) or (
                "nothing: " + shapes.case(**BASE).name)
            rows.append(row(name, found["jax"], found["torch"]))
            results.append({"changed": change, **found})
            print(" | ".join(rows[-1]), flush=True)
        for count in DEVICES:
            ours = running.run({"framework": "jax", "what": "train", "case": dict(BASE),
                                "calls": args.calls, "virtual_devices": count})
            rows.append(row(f"{count} virtual devices", ours, None))
            results.append({"devices": count, "jax": ours})
            print(" | ".join(rows[-1]), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = "python -m tools.bench.sweep " + shlex.join(sys.argv[1:] if argv is None else argv)
    if args.json:
        write_json(args.json, {"command": command, "results": results})
    if args.report:
        write_text(args.report, results_page(
            "What a train step costs", command,
            f"K codes a level, t the level in training, L tokens an item, B items. "
            f"{running.load()}", HEADER, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
