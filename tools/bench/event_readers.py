"""Measures engines that could read interactions: CPU seconds to read and add up one JSONL file.

    python -m tools.bench.event_readers --interactions=interactions.jsonl [--output=page.md]

Polars and DuckDB read and add up only, without our checks, and are measured where they are
installed; 'rows' and 'blocks' are ours, with every check, ids and query numbers. Each runs in a
process of its own.
"""

import argparse
import datetime
import os
import pathlib
import resource
import subprocess
import sys
from collections.abc import Callable

from gsid_jax.manifest import hardware
from tools.bench.results_page import write_page

ACTIONS = ("click", "contact", "purchase")


def polars(path: str) -> int:
    import polars as pl
    sums = [pl.col(name).sum() for name in ACTIONS]
    return len(pl.scan_ndjson(path).group_by("query", "item_id").agg(sums).collect())


def duckdb(path: str) -> int:
    import duckdb as engine
    sums = ", ".join(f"sum({name})" for name in ACTIONS)
    return engine.connect().execute(
        f"select count(*) from (select query, item_id, {sums} from read_json('{path}', "
        "format='newline_delimited') group by all)").fetchall()[0][0]


def arrow(path: str) -> int:
    import pyarrow.json
    table = pyarrow.json.read_json(path)
    return len(table.group_by(["query", "item_id"]).aggregate([(name, "sum") for name in ACTIONS]))


class _Everything(dict):
    def get(self, name: str, default: object = None) -> int:
        del default
        return self.setdefault(name, len(self))


def blocks(path: str) -> int:
    from tasks import events, pairs
    from tasks.raw_files import Rejects
    queries: dict[str, int] = {}
    found = events.read_events(pathlib.Path(path), _Everything(), queries, (1.0, 3.0, 5.0),
                               Rejects())
    return len(pairs.sum_events(found, (1.0, 3.0, 5.0), len(queries)).query)


def rows(path: str) -> int:
    from tasks import events
    events._arrow_json = lambda *_: None  # every block is read row by row
    return blocks(path)


ENGINES: dict[str, Callable[[str], int]] = {
    "polars": polars, "duckdb": duckdb, "arrow": arrow, "blocks": blocks, "rows": rows}
IMPORTS = {"polars": "polars", "duckdb": "duckdb", "arrow": "pyarrow.json",
           "blocks": "tasks.events", "rows": "tasks.events"}


def measure(name: str, path: str) -> str:
    """Runs one engine in this process: 'pairs, CPU seconds, peak GB', imports left out."""
    __import__(IMPORTS[name])
    before = resource.getrusage(resource.RUSAGE_SELF)
    count = ENGINES[name](path)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{count:,} | {cpu:.2f} | {after.ru_maxrss / 2**20:.2f}"


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--interactions", required=True)
    parser.add_argument("--engine", choices=tuple(ENGINES), help="one, in this process")
    parser.add_argument("--output", type=pathlib.Path, help="page to write; default: print it")
    args = parser.parse_args(argv)
    if args.engine:
        print(measure(args.engine, args.interactions))
        return 0
    lines = ["# Reading interactions: engines", "",
             f"Written by `python -m tools.bench.event_readers` on {datetime.date.today()}; "
             f"{hardware()}, a file of "
             f"{os.path.getsize(args.interactions):,} bytes.", "",
             "| engine | pairs | CPU seconds | peak GB |", "|---|---|---|---|"]
    for name in ENGINES:
        found = subprocess.run([sys.executable, "-m", "tools.bench.event_readers", "--engine", name,
                                "--interactions", args.interactions], capture_output=True,
                               text=True, check=False)
        shown = found.stdout.strip() if not found.returncode else (
            f"- | {found.stderr.strip().splitlines()[-1][:60]} | -")
        lines.append(f"| {name} | {shown} |")
    text = "\n".join(lines) + "\n"
    write_page(text, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
