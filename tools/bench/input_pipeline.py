"""Measures the input pipeline: examples and tokens a second, and how often training would wait.

    python -m tools.bench.input_pipeline --run_dir=RUN --output=docs/results/input_pipeline.md \\
        [--step_ms=50,200] [--batch_size=128] [--cached]

reads the tasks of a finished run as training does, from TFDS to host batches, and then again with
steps of a given length: a step waits if its batch is not ready. With --cached the query-item task is
read from its cached tokens too (tools.cache_tasks).
"""

import argparse
import datetime
import json
import pathlib
import platform
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.manifest import hardware, write_json
from tools.bench.results_page import write_page

READY = 0.1  # of a step: a batch that comes within this did not keep it waiting
TOKENS = {"gsid_pretrain": ("encoder_input_tokens", "decoder_target_tokens"),
          "gsid_query_item": ("item_tokens", "query_tokens")}
LENGTHS = {"gsid_pretrain": {"inputs": 64, "targets": 64},
           "gsid_query_item": {"inputs": 64, "queries": 16}}
BUCKET = 16  # tokens; lengths a batch could be cut to


def batches(task: str, batch_size: int, lengths: dict[str, int]) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches of a task, as the trainer reads them."""
    import seqio
    from gsid_jax import feature_converters
    from tasks import loading
    converter = (feature_converters.PretrainFeatureConverter if task == "gsid_pretrain"
                 else feature_converters.GSIDFeatureConverter)
    return loading.BatchIterator(loading.get_dataset(
        task, lengths, feature_converter_cls=converter, batch_size=batch_size,
        shard_info=seqio.ShardInfo(0, 1)))


def throughput(stream: Iterator[dict[str, np.ndarray]], task: str, seconds: float
               ) -> dict[str, float]:
    """Examples and tokens per second and per CPU second, and the share of padding."""
    for _ in range(5):
        first = next(stream)
    size = len(next(iter(first.values())))
    tokens = padded = cut = count = 0
    begun, cpu = time.perf_counter(), _cpu()
    while time.perf_counter() - begun < seconds:
        batch = next(stream)
        count += 1
        for name in TOKENS[task]:
            rows = batch[name].reshape(-1, batch[name].shape[-1])
            used = int((rows != 0).sum())
            longest = int((rows != 0).sum(axis=1).max())
            tokens += used
            padded += rows.size
            cut += len(rows) * min(rows.shape[1], -(-longest // BUCKET) * BUCKET)
    wall, cpu = time.perf_counter() - begun, _cpu() - cpu
    return {"examples/s": count * size / wall, "examples/s per core": count * size / cpu,
            "tokens/s": tokens / wall, "tokens/s per core": tokens / cpu,
            "padding": 1 - tokens / padded, "padding of batches cut to their longest":
            1 - tokens / cut}


def waits(stream: Iterator[dict[str, np.ndarray]], step_seconds: float, steps: int
          ) -> dict[str, float]:
    """Share of steps that waited for data, and of time spent so, with steps that sleep."""
    for _ in range(5):
        next(stream)
    waited, lost, begun = 0, 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        next(stream)
        took = time.perf_counter() - asked
        waited += took > READY * step_seconds
        lost += took
        time.sleep(step_seconds)
    return {"steps that waited": waited / steps, "time lost": lost / (time.perf_counter() - begun)}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(run_dir: pathlib.Path, batch_size: int, step_ms: list[int], seconds: float,
            cached_too: bool = False) -> dict[str, Any]:
    """Measures pre-training, step 1 and step 2 of a run."""
    import tasks  # registers them  # pylint: disable=unused-import
    from tasks import location
    stages = {"pre-training": ("gsid_pretrain", ""), "step 1": ("gsid_query_item", "")}
    assignment = run_dir / "step_1" / "assignment"
    if assignment.exists():
        stages["step 2"] = ("gsid_query_item", str(assignment))
    found: dict[str, Any] = {}
    for cached in ([False, True] if cached_too else [False]):
        for stage, (task, step_dir) in stages.items():
            if cached and task != "gsid_query_item":
                continue
            name = f"{stage}, cached tokens" if cached else stage
            with location.use(data_dir=run_dir / "data", step_dir=step_dir,
                              vocabulary=run_dir / "vocab" / "sentencepiece.model",
                              cached_tokens=cached):
                rate = throughput(batches(task, batch_size, LENGTHS[task]), task, seconds)
                found[name] = rate | {f"with steps of {ms} ms": waits(
                    batches(task, batch_size, LENGTHS[task]), ms / 1000,
                    max(20, int(1000 * seconds / ms))) for ms in step_ms}
    return found


def page(found: dict[str, Any], batch_size: int, command: str) -> str:
    """The results page."""
    steps = [name for name in next(iter(found.values())) if name.startswith("with steps")]
    lines = ["# Input pipeline", "", f"Written by `{command}` on {datetime.date.today()}; "
             f"{hardware()}, Python "
             f"{platform.python_version()}; batches of {batch_size}, lengths {json.dumps(LENGTHS)}.",
             "A step waits if its batch takes more than a tenth of it to come (less is "
             "the copy out of TensorFlow); lost: all of that time over the whole. Tokens are those "
             "that are no padding.", "",
             "| | examples/s | per core | tokens/s | per core | padding | padding, cut to the "
             f"longest | {' | '.join(name + ': waited | lost' for name in steps)} |",
             "|---" * (7 + 2 * len(steps)) + "|"]
    for name, rate in found.items():
        lines.append(
            f"| {name} | {rate['examples/s']:,.0f} | {rate['examples/s per core']:,.0f} | "
            f"{rate['tokens/s']:,.0f} | {rate['tokens/s per core']:,.0f} | {rate['padding']:.0%} | "
            f"{rate['padding of batches cut to their longest']:.0%} | "
            + " | ".join(f"{rate[step]['steps that waited']:.0%} | {rate[step]['time lost']:.0%}"
                         for step in steps) + " |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run_dir", required=True, type=pathlib.Path, help="a finished run")
    parser.add_argument("--cached", action="store_true",
                        help="measure what tools.cache_tasks wrote too")
    parser.add_argument("--output", type=pathlib.Path, help="page to write; default: print it")
    parser.add_argument("--json", help="file that receives the figures")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--step_ms", default="50,200", help="lengths of a step, in milliseconds")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    args = parser.parse_args(argv)
    try:
        steps = [int(ms) for ms in args.step_ms.split(",")]
        found = measure(args.run_dir, args.batch_size, steps, args.seconds, args.cached)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json:
        write_json(args.json, found)
    text = page(found, args.batch_size, "python -m tools.bench.input_pipeline --run_dir=RUN"
                + (" --cached" if args.cached else "")
                + f" --batch_size={args.batch_size} --step_ms={args.step_ms}")
    write_page(text, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
