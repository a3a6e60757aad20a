"""Peak memory of a train step by batch size, and what chunks, remat and blocks do to it.

    python -m tools.bench.memory --size=base --batches=64,256,1024,4096 --dtype=bfloat16 \\
        --report=docs/results/memory.md

compiles the step for one TPU v5e chip's program (libtpu, nothing run) or, with --device=cpu, for
this machine, and reads the compiler's own account of arguments and temporaries. Where they do not
fit 16 GiB, the temporaries the compiler asked for stand in parentheses.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tools.bench.results_page import results_page, write_text

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "remat full": {"network": {"remat_policy": "full"}},
    "remat dots": {"network": {"remat_policy": "dots"}},
    "8 microbatches (fewer negatives)": {"num_microbatches": 8},
    "8 chunks (all negatives)": {"num_chunks": 8},
    "32 chunks (all negatives)": {"num_chunks": 32},
}
GIB = 2**30


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """{'total': bytes, 'state': bytes, 'temporary': bytes} or {'too_large': words}."""
    if job["device"] == "tpu":
        from tools.launch_plan import compiling
        compiling.set_environment()
    else:
        os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from gsid_jax.partitioning import Partitioner
    from gsid_jax.quiet import silenced_stderr
    from tools.bench import batches, jax_side, shapes
    if job["device"] == "tpu":
        from tools.launch_plan.chips import topology
        devices = compiling.devices(topology("v5e:2x2"))[:1]
    else:
        devices = jax.devices()[:1]
    case = shapes.case(**job["case"])
    variant = dict(VARIANTS[job["variant"]])
    network = {"scan_layers": True, **variant.pop("network", {})}
    batch = batches.random_batch(case)
    trainer = jax_side.trainer(case, batch, Partitioner(devices=devices), network, **variant)
    spec = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in batch.items()}
    try:
        with silenced_stderr():
            memory = trainer.lower_train_step(spec).compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"too_large": str(error).splitlines()[0][:300]}
    state = memory.argument_size_in_bytes
    temporary = memory.temp_size_in_bytes
    return {"state": state, "temporary": temporary, "total": state + temporary
            + memory.output_size_in_bytes - memory.alias_size_in_bytes}


def cell(found: Mapping[str, Any]) -> str:
    """GiB in all, or 'too large' with what the compiler said it would need."""
    if "total" in found:
        return f"{found['total'] / GIB:.2f}"
    needed = re.search(r"temporaries \(([\d.]+)G\)", found["too_large"])
    return "too large" + (f" ({float(needed[1]):,.1f})" if needed else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="base")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--batches", default="64,256,1024,4096")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--query_length", type=int, default=32)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="tpu", choices=["tpu", "cpu"])
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--json", default="")
    parser.add_argument("--report", default="")
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(measure(json.loads(args.measure))))
        return 0
    names, sizes = args.variants.split(","), [int(n) for n in args.batches.split(",")]
    rows, results = [], []
    try:
        for name in names:
            if name not in VARIANTS:
                raise UserError(f"--variants: got {name!r}, expected some of {list(VARIANTS)}")
            rows.append([name])
            for batch in sizes:
                case = {"size": args.size, "t": args.level, "B": batch, "Q": 2, "L": args.length,
                        "Lq": args.query_length, "dtype": args.dtype}
                found = _run({"case": case, "variant": name, "device": args.device})
                results.append({"variant": name, "case": case, **found})
                rows[-1].append(cell(found))
                print(f"{name}, batch {batch:,}: {rows[-1][-1]}", flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = "python -m tools.bench.memory " + shlex.join(sys.argv[1:] if argv is None else argv)
    if args.json:
        write_json(args.json, {"command": command, "results": results})
    if args.report:
        write_text(args.report, results_page(
            "Peak memory of a train step", command,
            f"GiB on one {'TPU v5e chip (16 GiB)' if args.device == 'tpu' else 'CPU device'} "
            f"by the compiler's own account: {args.size}, GSID step {args.level}, "
            f"{args.length} tokens an item, two queries of {args.query_length}, {args.dtype}, "
            "AdamW, scanned layers. The state is part of it and stays the same size. In parentheses: "
            "the temporaries alone of what does not fit.",
            ("variant", *(f"batch {n:,}" for n in sizes)), rows))
    return 0


def _run(job: Mapping[str, Any]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tools.bench.memory", "--measure",
                           json.dumps(job)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{dict(job)} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
