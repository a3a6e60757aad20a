"""Swing item-item similarity from user sequences.

    python -m tools.swing_i2i --sequences=sequences.jsonl --output=similar.parquet \\
        [--test_output=i2i_test.jsonl --test_top=5] [--since=2024-04-01 --until=2024-05-01]

writes, for each item that shares users with others, its most similar items and their scores:
``item_id``, ``similar``, ``scores``. That file is what ``tools.build_dataset --item_pairs`` takes;
``--test_output`` is what its ``--i2i_test`` takes. ``--events`` reads search events with a user
instead of sequences. With --beam_runner it runs on Apache Beam, and gives the same.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.errors import UserError
from tasks import column_map, raw_paths, splitting, swing, view_files
from tasks.raw_files import Rejects, Source
from tools.marketplace.writer import JsonLines

Row = tuple[str, list[str], list[float]]


def swing_rows(source: Source, settings: swing.SwingSettings, rejects: Rejects) -> list[Row]:
    """(item id, ids of the similar items, scores), by item id, computed on this machine."""
    views = view_files.read_views(source, settings, rejects)
    item, similar, score = swing.similar_items(views, settings)
    starts = np.flatnonzero(np.concatenate([[True], item[1:] != item[:-1]])) if len(item) else []
    names = views.item_ids
    return [(names[item[low]], [names[place] for place in similar[low:high].tolist()],
             (score[low:high] / swing.ONE).tolist())
            for low, high in zip(starts, [*starts[1:], len(item)])]


def write_rows(rows: Iterable[Row], output: pathlib.Path) -> int:
    """Writes rows as Parquet, complete or not at all; returns how many."""
    columns = list(zip(*rows)) or [(), (), ()]
    table = pa.table({"item_id": pa.array(columns[0], pa.string()),
                      "similar": pa.array(columns[1], pa.list_(pa.string())),
                      "scores": pa.array(columns[2], pa.list_(pa.float64()))})
    partial = output.with_name(f"{output.name}.tmp-{os.getpid()}")
    pq.write_table(table, partial)
    os.replace(partial, output)
    return len(table)


def write_test(rows: Iterable[Row], output: pathlib.Path, top: int) -> None:
    """Writes each item with its ``top`` most similar ones, as ``--i2i_test`` takes them."""
    partial = output.with_name(f"{output.name}.tmp-{os.getpid()}")
    with JsonLines(str(partial)) as file:
        for item, similar, _ in rows:
            file.write({"item_id": item, "item_ids": similar[:top]})
    os.replace(partial, output)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--sequences", help="user_id, items, and timestamps if there are any")
    given.add_argument("--events", help="events with user_id, and timestamp if there is one")
    parser.add_argument("--columns", help="YAML file: what your files call our fields")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="Parquet file to write")
    parser.add_argument("--test_output", type=pathlib.Path, help="JSONL file, as --i2i_test takes")
    parser.add_argument("--test_top", type=int, default=5, help="items of each test trigger")
    parser.add_argument("--skip_invalid", action="store_true", help="set bad records aside, in "
                        "OUTPUT.rejects.jsonl")
    parser.add_argument("--beam_runner", help="such as DirectRunner; default: this machine")
    parser.add_argument("--beam_options", default="", help="Beam's own options")
    for field in dataclasses.fields(swing.SwingSettings):
        if field.name in ("since", "until"):
            parser.add_argument(f"--{field.name}", default="0", help="2024-05-01 or seconds")
        else:
            parser.add_argument(f"--{field.name}", type=field.type, default=field.default,
                                help=f"default {field.default}")
    args = parser.parse_args(argv)
    started = time.time()
    try:
        options = {field.name: getattr(args, field.name)
                   for field in dataclasses.fields(swing.SwingSettings)}
        for name in ("since", "until"):
            options[name] = splitting.seconds(options[name], name)
        settings = swing.SwingSettings(**options)
        kind = "sequences" if args.sequences else "interactions"
        source = raw_paths.resolve(args.sequences or args.events, kind,
                                   column_map.load(args.columns).get(kind))
        try:
            rejects = Rejects(args.output.with_name(f"{args.output.name}.rejects.jsonl")
                              if args.skip_invalid else None)
            if args.beam_runner:
                from tasks import beam_swing
                rows = beam_swing.swing_rows(source, settings, rejects, args.beam_runner,
                                             args.beam_options)
            else:
                rows = swing_rows(source, settings, rejects)
            rejects.close()
            count = write_rows(rows, args.output)
            if args.test_output:
                write_test(rows, args.test_output, args.test_top)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{args.output} cannot be written ({error}); expected a writable place "
                            "with room: correct --output") from error
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if rejects.counts:
        print(rejects.summary(), file=sys.stderr)
    pairs = sum(len(similar) for _, similar, _ in rows)
    print(f"{args.output}: {count:,} items, {pairs:,} pairs after {time.time() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
