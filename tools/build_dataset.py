"""Builds the datasets of a catalogue from its raw files (docs/data_format.md).

    python -m tools.build_dataset --items=items.jsonl --interactions=interactions.jsonl \\
        --output_dir=DATA_DIR

writes, all at once when everything is done:

  gsid_catalogue/     TFDS datasets: train, pool, q2i, i2i
  *.parquet           items, queries, training pairs, held-out triggers, sequences, truth
  rejects.jsonl       bad records and why, with --skip_invalid
  dataset.json        counts, settings, hashes of the raw files, versions

Without --q2i_test some items and queries are held out by hash (--holdout_items,
--holdout_queries). Running it again with the same files and settings returns at once; other files
or settings need another directory.
"""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

import gsid_jax
from gsid_jax.errors import UserError
from gsid_jax.manifest import file_hash, write_json
from tasks import catalogue_builder, raw_files, sidecars
from tasks.dataset_settings import Settings
from tasks.sidecars import KINDS, REQUIRED

FORMAT = 1  # of the directory; raised when older directories can no longer be read
DONE = "dataset.json"
VERSIONED = ("tensorflow-datasets", "pyarrow", "numpy")


def build_dataset(items: str | os.PathLike, interactions: str | os.PathLike,
                  output_dir: str | os.PathLike, *, sequences: str | os.PathLike | None = None,
                  q2i_test: str | os.PathLike | None = None,
                  i2i_test: str | os.PathLike | None = None,
                  truth: str | os.PathLike | None = None, **settings: Any) -> dict[str, int]:
    """Builds the datasets, or returns at once if they are there.

    Args:
      items, interactions, sequences, q2i_test, i2i_test, truth: raw files, JSONL (.gz) or Parquet.
      output_dir: a new or empty directory, or one that this function filled.
      settings: fields of ``tasks.dataset_settings.Settings``.

    Returns counts by name, as ``dataset.json`` holds them. Raises UserError for a bad record, a
    missing or empty file, and a directory that holds something else.
    """
    given = {"items": items, "interactions": interactions, "sequences": sequences,
             "q2i_test": q2i_test, "i2i_test": i2i_test, "truth": truth}
    sources = {kind: raw_files.check_path(path, kind) for kind, path in given.items() if path}
    chosen = Settings(**settings)
    output = pathlib.Path(os.path.abspath(output_dir))
    identity = {
        "format": FORMAT, "settings": dataclasses.asdict(chosen),
        "sources": {kind: {"file": path.name, "bytes": path.stat().st_size,
                           "sha256": file_hash(path)}
                    for kind, path in sources.items()}}
    found = _existing(output)
    if found is not None:
        differences = _differences(found, identity)
        if differences:
            raise UserError(f"{output} holds a dataset built differently: {differences}; expected "
                            "the same raw files and settings: choose another --output_dir, or "
                            "remove that one")
        return found["counts"]
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rejects = raw_files.Rejects(partial / "rejects.jsonl" if chosen.skip_invalid else None)
    try:
        counts = sidecars.write_sidecars(sources, partial, chosen, rejects)
    except UserError:
        rejects.close()
        shutil.rmtree(partial)
        raise
    rejects.close()
    catalogue_builder.build_catalogue(partial, chosen.max_queries)
    record = identity | {
        "fingerprint": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        "counts": counts, "rejected": dict(sorted(rejects.counts.items())),
        "versions": {"gsid_jax": gsid_jax.__version__} | {
            name: importlib.metadata.version(name) for name in VERSIONED}}
    write_json(partial / DONE, record)
    os.replace(partial, output)
    if rejects.counts:
        print(f"{rejects.summary()}, see {output / 'rejects.jsonl'}", file=sys.stderr)
    return counts


def _existing(output: pathlib.Path) -> dict[str, Any] | None:
    """The record of the dataset in ``output``; None if there is nothing. UserError otherwise."""
    done = output / DONE
    if done.exists():
        try:
            return json.loads(done.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{done} cannot be read ({error}); expected the record of a dataset: "
                            "remove the directory and build again") from error
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is in use and holds no {DONE}; expected a new or empty directory"
                        ": choose another --output_dir")
    return None


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Names what differs, with both values; empty if nothing does."""
    lines = []
    if found.get("format") != wanted["format"]:
        lines.append(f"format was {found.get('format')} and is now {wanted['format']}")
    old, new = found.get("settings", {}), wanted["settings"]
    lines += [f"{name} was {old.get(name)!r} and is now {new.get(name)!r}"
              for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    old, new = found.get("sources", {}), wanted["sources"]
    for kind in KINDS:
        before, now = old.get(kind), new.get(kind)
        if (before or {}).get("sha256") != (now or {}).get("sha256"):
            lines.append(f"{kind} file was {_shown(before)} and is now {_shown(now)}")
    return ", ".join(lines)


def _shown(source: Mapping[str, Any] | None) -> str:
    if source is None:
        return "not given"
    return f"{source['file']} ({source['bytes']:,} bytes, sha256 {source['sha256'][:12]})"


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for kind in KINDS:
        parser.add_argument(f"--{kind}", required=kind in REQUIRED,
                            help="JSONL (.gz) or Parquet file" + ("" if kind in REQUIRED
                                                                  else ", optional"))
    parser.add_argument("--output_dir", required=True, help="a new or empty directory")
    for field in dataclasses.fields(Settings):
        if field.type is bool:
            parser.add_argument(f"--{field.name}", action="store_true")
        else:
            parser.add_argument(f"--{field.name}", type=field.type, default=field.default,
                                help=f"default {field.default}")
    args = vars(parser.parse_args(argv))
    started = time.time()
    try:
        counts = build_dataset(**args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    print(f"{args['output_dir']} ready after {time.time() - started:.1f} s: {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
