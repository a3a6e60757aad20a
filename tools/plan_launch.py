"""Plans a launch: what a gin configuration needs and takes on a topology, before it is rented.

    python -m tools.plan_launch --gin_file=gin_configs/models/mengzi_base.gin \\
        --gin_file=gin_configs/runs/gsid_step_1.gin --gin.SCAN_LAYERS=True \\
        --gin.BATCH_SIZE=4096 --topology=v5e:16x16 --samples=200000000 --json=plan.json

compiles the real train step ahead of time with libtpu (no TPU is needed) for every mesh of the
topology that divides the batch, and says for each whether it fits, the memory of a chip by kind,
FLOPs, HBM traffic, collectives, the roofline's step time, and the time and chip-hours of an epoch
of N samples. For h100 and h200 the program of a TPU slice of as many chips stands in: its counts
are priced at the GPU's rates. Compiling takes minutes with unrolled layers: set SCAN_LAYERS=True.
"""

import argparse
import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.errors import UserError
from tools.launch_plan import chips as chip_figures
from tools.launch_plan import compiling, roofline


def plan(*, topology: str, gin_files: Sequence[str], bindings: Sequence[str] = (),
         samples: int = 200_000_000, meshes: str = "all", say=print) -> dict[str, Any]:
    """Compiles for every mesh asked for; returns the plan as JSON values.

    Raises UserError for what is wrong with the topology or the configuration.
    """
    place = chip_figures.topology(topology)
    config = compiling.read_configuration(gin_files, bindings)
    chips = compiling.devices(place)
    programs = []
    for mesh in compiling.meshes(config, place, every=meshes == "all"):
        program = compiling.compile_step(config, place, mesh, chips)
        programs.append(_described(program, place, config.batch_size, samples))
        say(_line(programs[-1]))
    fitting = [p for p in programs if p["fits"]]
    best = min(fitting, key=lambda p: p["seconds"]["step"])["mesh"] if fitting else None
    return {"topology": place.name, "chips": place.chips, "chip": dataclasses.asdict(place.chip),
            "compiled_for": place.compiled_name, "batch_size": config.batch_size,
            "samples": samples, "model": type(config.model).__name__,
            "level": getattr(config.model, "level", None), "programs": programs, "best": best}


def _described(program: compiling.Program, place: chip_figures.Topology, batch_size: int,
               samples: int) -> dict[str, Any]:
    described = {"mesh": str(program.mesh), "fits": program.fits, "reason": program.reason,
                 "memory": dict(program.memory), "compile_seconds": program.seconds}
    if not program.flops:
        return described
    seconds = roofline.seconds(place, program.flops, program.bytes, program.collectives)
    epoch = samples / batch_size * seconds.serial
    return described | {
        "flops": program.flops, "bytes": program.bytes,
        "collectives": [dataclasses.asdict(c) for c in program.collectives],
        "xla_counts_loops_once": dict(program.xla),
        "seconds": {"compute": seconds.compute, "memory": seconds.memory,
                    "collectives": seconds.collectives, "at_best": seconds.overlapped,
                    "step": seconds.serial},
        "mfu": program.flops / place.chip.flops / seconds.serial,
        "epoch": {"hours": epoch / 3600, "chip_hours": epoch / 3600 * place.chips}}


def _line(p: Mapping[str, Any]) -> str:
    if "seconds" not in p:
        return f"mesh {p['mesh']}: does not fit, {p['reason']}"
    seconds = p["seconds"]
    return (f"mesh {p['mesh']}: {'fits' if p['fits'] else 'does not fit, ' + p['reason']}; "
            f"{p['memory']['total'] / chip_figures.GIB:.2f} GiB a chip; step "
            f"{seconds['step'] * 1e3:.1f} ms (compute {seconds['compute'] * 1e3:.1f}, memory "
            f"{seconds['memory'] * 1e3:.1f}, collectives {seconds['collectives'] * 1e3:.1f}); "
            f"compiled in {p['compile_seconds']:.0f} s")


def report(plan: Mapping[str, Any]) -> str:
    """The plan for people."""
    chip = plan["chip"]
    stands_in = ("" if plan["compiled_for"] == plan["topology"] else
                 f" (program of {plan['compiled_for']}, priced at the GPU's rates)")
    lines = [f"{plan['topology']}: {plan['chips']} chips{stands_in}, {chip['flops'] / 1e12:.0f} "
             f"TFLOP/s bf16, {chip['memory'] / chip_figures.GIB:.0f} GiB at "
             f"{chip['memory_bytes'] / 1e9:,.0f} GB/s each",
             plan["model"] + (f" level {plan['level']}" if plan["level"] else "")
             + f", global batch {plan['batch_size']:,}"]
    for p in plan["programs"]:
        if p["mesh"] != plan["best"]:
            continue
        parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in p["memory"].items())
        lines += [f"best mesh: {p['mesh']}",
                  f"memory of a chip, MiB: {parts}",
                  f"a step of a chip: {p['flops'] / 1e12:.3f} TFLOP (XLA, loops counted once: "
                  f"{p['xla_counts_loops_once']['flops'] / 1e12:.3f}), {p['bytes'] / 1e9:.1f} GB "
                  "of HBM traffic"]
        lines += [f"  {c['kind']} over {c['group']} chips: {c['count']:.0f} times, "
                  f"{c['bytes'] / 2**20:,.1f} MiB" for c in p["collectives"]]
        seconds, epoch = p["seconds"], p["epoch"]
        lines += [f"roofline: {seconds['step'] * 1e3:.1f} ms a step without overlap of exchanges "
                  f"({seconds['at_best'] * 1e3:.1f} ms with), {p['mfu']:.0%} of peak FLOP/s",
                  f"{plan['samples']:,} samples: {epoch['hours']:.2f} hours, "
                  f"{epoch['chip_hours']:,.0f} chip-hours"]
    if plan["best"] is None:
        lines.append("no mesh fits: lower BATCH_SIZE, set NUM_CHUNKS, REMAT_POLICY='full' or "
                     "FSDP=True, or take more chips")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status, 1 also when nothing fits."""
    from gsid_jax import launch
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gin_file", action="append", default=[])
    parser.add_argument("--gin_bindings", action="append", default=[], metavar="NAME=VALUE",
                        help="a gin binding; --gin.NAME=VALUE is the same")
    parser.add_argument("--topology", required=True, help="v5e:4x4, v4:2x2x4, h100:32, ...")
    parser.add_argument("--samples", type=int, default=200_000_000, help="items of an epoch")
    parser.add_argument("--meshes", choices=["all", "config"], default="all",
                        help="every mesh, or that of NUM_PARTITIONS and FSDP")
    parser.add_argument("--json", default="", help="file for the plan")
    try:
        args = parser.parse_args(launch.rewrite_gin_args(sys.argv[1:] if argv is None else argv))
        result = plan(topology=args.topology, gin_files=args.gin_file,
                      bindings=args.gin_bindings, samples=args.samples, meshes=args.meshes)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(result))
    if args.json:
        from gsid_jax.manifest import write_json
        write_json(pathlib.Path(args.json), {
            "command": "python -m tools.plan_launch " + shlex.join(sys.argv[1:]), **result})
    return 0 if result["best"] else 1


if __name__ == "__main__":
    compiling.set_environment()
    sys.exit(main())
