"""Offline inference side by side with PyTorch: texts to semantic IDs, items a second.

    python -m tools.bench.inference --sizes=small,base --report=docs/results/inference.md

Both encode once and decode T codes greedily. Every row of a batch is full, and beside it a batch
whose lengths are those of real titles (log-normal, mean about a third of the longest): there our
encoder's length buckets save padding, while PyTorch pads to the longest of the batch.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tools.bench import running, shapes
from tools.bench.results_page import results_page, write_text

HEADER = ("case", "ours items/s", "PyTorch items/s", "speed against PyTorch", "ours CPU s",
          "PyTorch CPU s")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="small,base")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--json", default="")
    parser.add_argument("--report", default="")
    args = parser.parse_args(argv)
    rows, results = [], []
    try:
        for size in args.sizes.split(","):
            for what in ("infer", "infer_titles"):
                case = {"size": size, "t": 4, "B": args.batch, "L": args.length,
                        "dtype": args.dtype}
                found = running.side_by_side(case, what, args.calls, args.device, args.compiled)
                ours, theirs = found["jax"], found["torch"]
                texts = "titles' lengths" if what == "infer_titles" else "full rows"
                rows.append([
                    f"{shapes.case(**case).size}, {args.batch} x {args.length}, {args.dtype}, {texts}",
                    f"{ours['texts'] / ours['seconds']:,.1f}",
                    f"{theirs['texts'] / theirs['seconds']:,.1f}",
                    f"{ours['texts'] / ours['seconds'] / (theirs['texts'] / theirs['seconds']):.2f}",
                    f"{ours['cpu_seconds']:.2f}", f"{theirs['cpu_seconds']:.2f}"])
                results.append(found)
                print(" | ".join(rows[-1]), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = "python -m tools.bench.inference " + shlex.join(
        sys.argv[1:] if argv is None else argv)
    if args.json:
        write_json(args.json, {"command": command, "results": results})
    if args.report:
        write_text(args.report, results_page(
            "Offline inference against PyTorch", command,
            "Texts to 4 codes each, encoder once, greedy. PyTorch: transformers' T5 with its key-"
            f"value cache (tools/bench/torch_side.py). {running.load()}", HEADER, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
