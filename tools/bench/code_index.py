"""Builds the code index of many synthetic items: time, memory, bytes and the time to open it.

    python -m tools.bench.code_index --items=10000000 --output=docs/results/code_index.md

Writes an IDs Parquet and a Parquet of statistics to a temporary directory (not counted), then runs
``python -m gsid_jax.code_index build`` as a process of its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.code_index import CodeIndex
from gsid_jax.errors import UserError
from gsid_jax.id_files import FINGERPRINT
from tools.bench import results_page

LEVELS, SIZE = 4, 128
CHUNK = 500_000
STATISTICS = ("conversions", "clicks", "price")


def synthetic_items(items: int, seed: int = 0) -> Iterator[pa.Table]:
    """IDs as an even spread over about a third as many distinct ones, their popularity skewed."""
    rng = np.random.default_rng(seed)
    distinct = rng.integers(0, SIZE, (max(1, items // 3), LEVELS), dtype=np.int32)
    for start in range(0, items, CHUNK):
        n = min(CHUNK, items - start)
        codes = distinct[(len(distinct) * rng.random(n) ** 1.5).astype(np.int64)]
        offsets = np.arange(n + 1, dtype=np.int32) * LEVELS
        yield pa.table({
            "row": np.arange(start, start + n),
            "item_id": pa.array([f"item{i:010d}" for i in range(start, start + n)]),
            "codes": pa.ListArray.from_arrays(pa.array(offsets), pa.array(codes.reshape(-1))),
            **{name: rng.gamma(1.0, 5.0, n).astype(np.float32) for name in STATISTICS}})


def write_inputs(directory: Path, items: int) -> tuple[Path, Path]:
    """The two Parquet files."""
    ids, numbers = directory / "ids.parquet", directory / "numbers.parquet"
    columns = ["row", "item_id", "codes"]
    metadata = {FINGERPRINT: json.dumps({"model": "0" * 64})}
    writers: dict[Path, pq.ParquetWriter] = {}
    for table in synthetic_items(items):
        for path, part in ((ids, table.select(columns).replace_schema_metadata(metadata)),
                           (numbers, table.select(["item_id", *STATISTICS]))):
            if path not in writers:
                writers[path] = pq.ParquetWriter(path, part.schema)
            writers[path].write_table(part)
    for writer in writers.values():
        writer.close()
    return ids, numbers


def measure(items: int, directory: Path) -> dict[str, Any]:
    """Builds, opens, verifies."""
    ids, numbers = write_inputs(directory, items)
    index = directory / "index"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "gsid_jax.code_index", "build", f"--ids={ids}",
         f"--codebook_size={SIZE}", f"--statistics={numbers}", f"--output={index}"],
        check=False, capture_output=True, text=True)
    build = time.perf_counter() - start
    if done.returncode:
        raise UserError(f"the build failed: {done.stderr.strip().splitlines()[-1:]}")
    print(done.stdout.strip(), flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of the build only
    opened = []
    for _ in range(20):
        start = time.perf_counter()
        found = CodeIndex(index)
        opened.append(time.perf_counter() - start)
    start = time.perf_counter()
    CodeIndex(index, verify=True)
    verified = time.perf_counter() - start
    trie = found.trie.nbytes + found.first_item.nbytes
    per_item = found.rows.nbytes + sum(x.nbytes for x in found.statistics.values())
    return {"items": items, "ids": found.trie.num_ids, "build_seconds": build,
            "build_cpu_seconds": used.ru_utime + used.ru_stime,
            "peak_bytes": used.ru_maxrss * 1024,
            "open_ms": 1000 * statistics.median(opened), "verify_seconds": verified,
            "bytes_per_item": per_item / items, "trie_bytes": trie,
            "item_id_bytes": sum(entry["bytes"] for name, entry in found.info["files"].items()
                                 if name.startswith("item_id")),
            "statistics": list(STATISTICS)}


def page(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    text = results_page.opening("Building a code index", result["made"])
    text += (f"{result['items']:,} synthetic items, {result['ids']:,} distinct IDs of {LEVELS} "
             f"levels of {SIZE} codes, statistics {', '.join(result['statistics'])}. Build: the "
             "whole command, from Parquet to checksummed files.\n\n")
    rows = [["build", f"{result['build_seconds']:.1f} s"],
            ["processor time of the build", f"{result['build_cpu_seconds']:.1f} s"],
            ["peak memory of the build", f"{result['peak_bytes'] / 2**30:.2f} GiB"],
            ["open (median of 20)", f"{result['open_ms']:.1f} ms"],
            ["open and verify all checksums", f"{result['verify_seconds']:.2f} s"],
            ["bytes an item (row number and statistics)", f"{result['bytes_per_item']:.0f}"],
            ["trie and list offsets", f"{result['trie_bytes']:,} bytes"],
            ["item ids, in files of their own", f"{result['item_id_bytes']:,} bytes"]]
    return text + results_page.table(["", ""], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--output", default="docs/results/code_index.md")
    args = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="code_index_") as directory:
            result = measure(args.items, Path(directory))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    result["made"] = results_page.circumstances("tools.bench.code_index")
    results_page.write(args.output, page(result), result)
    print(f"{args.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
