"""Writes the next step's training records from a finished assignment, grouped by prefix.

    python -m tools.regroup --data_dir=RUN/data --assignment_dir=RUN/step_1/assignment \\
        [--group_size=32] [--beam_runner=DirectRunner]

The pipeline does this itself at the end of each assignment, on one machine. By hand it serves for
another group size or seed, and for a catalogue that takes several machines. It replaces the records
that are there; killed on one machine, it goes on where it was.
"""

import argparse
import json
import os
import pathlib
import sys
import time

from gsid_jax.errors import UserError
from gsid_jax.manifest import read_json, write_json


def regroup(data_dir: str | os.PathLike, assignment_dir: str | os.PathLike, group_size: int = 32,
            seed: int = 0, beam_runner: str | None = None, beam_options: str = "") -> dict[str, int]:
    """Writes ``assignment_dir/gsid_step``; records by split. UserError if the codes are missing."""
    from gsid_jax import assign, step_records
    from tasks import directory_lock
    data_dir, directory = pathlib.Path(data_dir), pathlib.Path(assignment_dir)
    if group_size < 1:
        raise UserError(f"bad group_size: got {group_size}, expected 1 or more: pass "
                        "--group_size=32")
    stats = read_json(directory / "stats.json", "run the assignment of that step again")
    if "codebook_size" not in stats:
        raise UserError(f"{directory} has no stats.json; expected the assignment that a step leaves:"
                        " correct --assignment_dir")
    with directory_lock.locked(directory / "gsid_step"):
        if beam_runner:
            from tasks import beam_regroup
            counts = beam_regroup.write_step_records(
                directory, data_dir, stats["codebook_size"], group_size, seed, beam_runner,
                beam_options)
        else:
            counts = step_records.write_step_records(
                directory, data_dir, assign.load(directory, "item"),
                assign.load(directory, "query"), stats["codebook_size"], group_size, seed)
    write_json(directory / "stats.json", stats | {"records": counts, "group_size": group_size})
    return counts


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", required=True, help="the dataset")
    parser.add_argument("--assignment_dir", required=True, help="RUN_DIR/step_t/assignment")
    parser.add_argument("--group_size", type=int, default=32, help="S, as the next step reads it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beam_runner", help="such as DirectRunner; default: this machine")
    parser.add_argument("--beam_options", default="", help="Beam's own options")
    args = vars(parser.parse_args(argv))
    started = time.time()
    try:
        counts = regroup(**args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args['assignment_dir']}/gsid_step: {json.dumps(counts)} after "
          f"{time.time() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
