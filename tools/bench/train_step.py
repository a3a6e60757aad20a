"""Train step side by side with PyTorch: pre-training and GSID steps, same shapes, dtype and batch.

    python -m tools.bench.train_step --sizes=small,base --report=docs/results/train_step.md \\
        --json=runs/bench/train_step.json

Each measurement is a process of its own; frameworks alternate and the faster round of each counts.
On a machine with an NVIDIA GPU: --device=cuda --dtype=bfloat16 --sizes=base --batch=256 \\
--length=128 --query_length=32 --compiled.
"""

import argparse
import itertools
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tools.bench import running, shapes
from tools.bench.results_page import results_page, write_text

HEADER = ("case", "ours ms", "PyTorch ms", "speed against PyTorch", "ours CPU s", "PyTorch CPU s",
          "TFLOP a step", "ours GFLOP/s", "MFU", "PyTorch MFU")


def row(case: dict[str, Any], found: dict[str, dict[str, Any]], peak: float) -> list[str]:
    """One row; FLOPs are those of our step's matrix products, for both."""
    ours, theirs = found["jax"], found["torch"]
    flops = ours["flops"]
    return [shapes.case(**case).name, running.milliseconds(ours), running.milliseconds(theirs),
            f"{theirs['seconds'] / ours['seconds']:.2f}", f"{ours['cpu_seconds']:.2f}",
            f"{theirs['cpu_seconds']:.2f}", f"{flops / 1e12:.3f}",
            f"{flops / ours['seconds'] / 1e9:,.1f}", f"{flops / ours['seconds'] / peak:.0%}",
            f"{flops / theirs['seconds'] / peak:.0%}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="small,base")
    parser.add_argument("--levels", default="0,1,4", help="0 is pre-training")
    parser.add_argument("--batch", default="8,32", help="items, several with commas")
    parser.add_argument("--queries", type=int, default=1)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--query_length", type=int, default=16)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compiled", action="store_true", help="torch.compile for PyTorch")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--matmul_size", type=int, default=2048)
    parser.add_argument("--json", default="")
    parser.add_argument("--report", default="")
    args = parser.parse_args(argv)
    rows, results = [], []
    try:
        peak = running.peak(args.device, args.dtype, args.matmul_size)
        print(f"best matrix product: {peak / 1e9:,.1f} GFLOP/s {args.dtype}", flush=True)
        for size, level, batch in itertools.product(
                args.sizes.split(","), args.levels.split(","), args.batch.split(",")):
            case = {"size": size, "t": int(level), "B": int(batch), "Q": args.queries,
                    "L": args.length, "Lq": args.query_length, "dtype": args.dtype}
            found = running.side_by_side(case, "train", args.calls, args.device, args.compiled)
            rows.append(row(case, found, peak))
            results.append(found)
            print(" | ".join(rows[-1]), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = "python -m tools.bench.train_step " + shlex.join(
        sys.argv[1:] if argv is None else argv)
    if args.json:
        write_json(args.json, {"command": command, "peak": peak, "results": results})
    if args.report:
        write_text(args.report, results_page(
            "Train step against PyTorch", command,
            f"Best matrix product of this machine ({args.matmul_size} x {args.matmul_size}, "
            f"{args.dtype}): {peak / 1e9:,.1f} GFLOP/s. PyTorch: transformers' T5 doing the same "
            "step" + (" under torch.compile" if args.compiled else "") + " (tools/bench/torch_side"
            f".py). MFU counts matrix products only. {running.load()}", HEADER, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
