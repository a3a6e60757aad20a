"""Where a train step's time goes, from the profiler's trace of the compiled program.

    python -m tools.bench.step_profile --size=small --report=docs/results/step_profile.md

One step of `tools.bench.train_step`'s case is traced by `jax.profiler` on CPU and the program's
instructions are summed by kind. The trace itself slows a step a little.
"""

import argparse
import collections
import gzip
import json
import pathlib
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence

from gsid_jax.errors import UserError
from tools.bench.results_page import results_page, write_page

KINDS = (  # the first that matches a name counts
    ("matrix products", r"dot|ynn_fusion|gemm|custom-call.*matmul"),
    ("copies and transposes", r"(copy|transpose|bitcast)(_(copy|transpose|bitcast))*(_fusion)?"),
    ("embedding look-ups and their gradients", r".*(gather|scatter).*"),
    ("the rest: optimizer, normalisation, softmax, losses", r".*"))
WHOLE = "ThunkExecutor::Execute"  # what runs the program; its instructions are inside
NAME = re.compile(r"^[a-z][a-z0-9_\-]*$")  # an instruction, its number taken off


def durations(events: Sequence[Mapping]) -> collections.Counter:
    """Milliseconds by name of instruction, numbers taken off, of those that ran in the program.

    Loops and calls hold instructions of their own, which are counted, not the loop.
    """
    spans = [event for event in events if event.get("ph") == "X"]
    inside = {event["tid"] for event in spans if event["name"].startswith(WHOLE)}
    total: collections.Counter = collections.Counter()
    for event in spans:
        name = re.sub(r"[.\d]+$", "", event["name"])
        if event["tid"] in inside and NAME.match(name) and name not in ("while", "call",
                                                                        "conditional"):
            total[name] += event["dur"] / 1e3
    return total


def by_kind(total: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds by KINDS."""
    found = {kind: 0.0 for kind, _ in KINDS}
    for name, value in total.items():
        found[next(kind for kind, pattern in KINDS if re.fullmatch(pattern, name))] += value
    return found


def traced(case: Mapping[str, object]) -> collections.Counter:
    """`durations` of one step; UserError if the trace has no instructions."""
    import jax
    from tools.bench import batches, jax_side, shapes
    made = shapes.case(**case)
    step = jax_side.train_step(made, batches.random_batch(made))
    for _ in range(2):
        step()
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            step()
        files = list(pathlib.Path(directory).rglob("*.trace.json.gz"))
        events = json.loads(gzip.decompress(files[0].read_bytes()))["traceEvents"] if files else []
    total = durations(events)
    if not total:
        raise UserError("the profiler's trace has no instructions of a CPU program; expected a run "
                        "on CPU: set JAX_PLATFORMS=cpu")
    return total


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small")
    parser.add_argument("--level", type=int, default=1, help="0 is pre-training")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--query_length", type=int, default=16)
    parser.add_argument("--report", type=pathlib.Path)
    args = parser.parse_args(argv)
    case = {"size": args.size, "t": args.level, "B": args.batch, "L": args.length,
            "Lq": args.query_length}
    try:
        total = traced(case)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    whole = sum(total.values())
    rows = [[kind, f"{value:,.0f}", f"{value / whole:.1%}"]
            for kind, value in by_kind(total).items()]
    rows += [[f"`{name}`", f"{value:,.0f}", f"{value / whole:.1%}"]
             for name, value in total.most_common(8)]
    command = "python -m tools.bench.step_profile " + shlex.join(
        sys.argv[1:] if argv is None else argv)
    write_page(results_page(
        "Where a train step's time goes", command,
        f"{args.size}, level {args.level}, {args.batch} items of {args.length} tokens, as many "
        f"queries of {args.query_length}, float32: {whole:,.0f} ms in the program's instructions. "
        "First by kind, then the largest by name (XLA's, summed over instructions).",
        ["instructions", "ms", "share"], rows), args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
