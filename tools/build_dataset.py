"""Builds the datasets of a catalogue from its raw files (docs/data_format.md).

    python -m tools.build_dataset --items=items.jsonl --interactions=interactions.jsonl \\
        --output_dir=DATA_DIR

writes, all at once when everything is done:

  gsid_catalogue/     TFDS datasets: train, pool, q2i, i2i
  *.parquet           items, queries, training pairs, held-out triggers, sequences, truth
  rejects.jsonl       bad records and why, with --skip_invalid
  dataset.json        counts, settings, hashes of the raw files, versions

Without --q2i_test some items and queries are held out by hash (--holdout_items,
--holdout_queries), or by time (--split=time --test_from=2024-05-01). Running it again with the same
files and settings returns at once; other files or settings need another directory. Only one build
writes a directory at a time.

A path may be a file, a pattern, a directory, several of these separated by commas, or a URI.
--columns=map.yaml says what your files call our fields. With --beam_runner the build runs on Apache
Beam and writes the same records.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

import gsid_jax
from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tasks import catalogue_builder, column_map, directory_lock, leakage, raw_files, raw_paths
from tasks import sidecars
from tasks.dataset_settings import Settings
from tasks.sidecars import KINDS, REQUIRED

FORMAT = 1  # of the directory; raised when older directories can no longer be read
DONE = "dataset.json"
VERSIONED = ("tensorflow-datasets", "pyarrow", "numpy")


def build_dataset(items: str | os.PathLike, interactions: str | os.PathLike,
                  output_dir: str | os.PathLike, *, sequences: str | os.PathLike | None = None,
                  q2i_test: str | os.PathLike | None = None,
                  i2i_test: str | os.PathLike | None = None,
                  truth: str | os.PathLike | None = None,
                  item_pairs: str | os.PathLike | None = None,
                  columns: str | os.PathLike | Mapping[str, Any] | None = None,
                  beam_runner: str | None = None, beam_options: str = "",
                  **settings: Any) -> dict[str, int]:
    """Builds the datasets, or returns at once if they are there.

    Args:
      items, interactions, sequences, q2i_test, i2i_test, truth, item_pairs: raw files, see
        ``tasks.raw_paths``.
      output_dir: a new or empty directory, or one that this function filled.
      columns: see ``tasks.column_map``.
      beam_runner: None: on this machine alone; otherwise a Beam runner, such as 'DirectRunner'.
      beam_options: Beam's own options, as on its command lines.
      settings: fields of ``tasks.dataset_settings.Settings``.

    Returns counts by name, as ``dataset.json`` holds them. Raises UserError for a bad record, a
    missing or empty file, a directory that holds something else or is being written.
    """
    given = {"items": items, "interactions": interactions, "sequences": sequences,
             "q2i_test": q2i_test, "i2i_test": i2i_test, "truth": truth, "item_pairs": item_pairs}
    names = column_map.load(columns)
    sources = {kind: raw_paths.resolve(path, kind, names.get(kind))
               for kind, path in given.items() if path}
    known = [field.name for field in dataclasses.fields(Settings)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise UserError(f"unknown setting {unknown[0]!r}; expected one of {', '.join(known)}")
    chosen = Settings(**settings)
    output = pathlib.Path(os.path.abspath(output_dir))
    identity = {
        "format": FORMAT, "settings": dataclasses.asdict(chosen),
        "sources": {kind: source.identity() for kind, source in sources.items()}}
    with _writable(output), directory_lock.locked(output):
        found = _existing(output)
        if found is not None:
            differences = _differences(found, identity)
            if differences:
                raise UserError(f"{output} holds a dataset built differently: {differences}; "
                                "expected the same raw files and settings: choose another "
                                "--output_dir, or remove that one")
            return found["counts"]
        return _build(output, sources, chosen, identity, beam_runner, beam_options)


def _build(output: pathlib.Path, sources: Mapping[str, raw_files.Source], chosen: Settings,
           identity: Mapping[str, Any], runner: str | None, options: str) -> dict[str, int]:
    """Writes everything under a temporary name and renames it."""
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rejects = raw_files.Rejects(partial / "rejects.jsonl" if chosen.skip_invalid else None)
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    made_from = {"fingerprint": fingerprint, "settings": identity["settings"],
                 "sources": identity["sources"]}
    try:
        if runner is None:
            counts = sidecars.write_sidecars(sources, partial, chosen, rejects)
            rejects.close()
            catalogue_builder.build_catalogue(partial, chosen.max_queries, made_from)
        else:
            from tasks import beam_build
            counts = beam_build.build(sources, partial, chosen, rejects, made_from, runner, options)
            rejects.close()
        leaks = leakage.check(partial)
        if "q2i_test" not in sources and leakage.faults(leaks):
            raise AssertionError(f"the split leaks: {leakage.faults(leaks)}")
        record = dict(identity) | {
            "fingerprint": fingerprint, "counts": counts, "leakage": leaks,
            "rejected": dict(sorted(rejects.counts.items())),
            "versions": {"gsid_jax": gsid_jax.__version__} | {
                name: importlib.metadata.version(name) for name in VERSIONED}}
        write_json(partial / DONE, record)
        os.replace(partial, output)
    except Exception:
        with contextlib.suppress(OSError):
            rejects.close()
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if rejects.counts:
        print(f"{rejects.summary()}, see {output / 'rejects.jsonl'}", file=sys.stderr)
    return counts


@contextlib.contextmanager
def _writable(output: pathlib.Path) -> Iterator[None]:
    """Turns a full disk or a place that cannot be written into UserError."""
    from tensorflow import errors
    try:
        yield
    except (OSError, pa.ArrowException, errors.OpError) as error:
        raise UserError(f"{output} cannot be written ({error}); expected a place to write with room "
                        "for the dataset: make room, or choose another --output_dir") from error


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
    default = dataclasses.asdict(Settings())  # of a setting that older datasets did not know
    old, new = default | found.get("settings", {}), wanted["settings"]
    lines += [f"{name} was {old.get(name)!r} and is now {new.get(name)!r}"
              for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    old, new = found.get("sources", {}), wanted["sources"]
    for kind in KINDS:
        before, now = old.get(kind), new.get(kind)
        if any((before or {}).get(name) != (now or {}).get(name) for name in ("sha256", "columns")):
            lines.append(f"{kind} file was {_shown(before)} and is now {_shown(now)}")
    return ", ".join(lines)


def _shown(source: Mapping[str, Any] | None) -> str:
    if source is None:
        return "not given"
    return f"{source['file']} ({source['bytes']:,} bytes, sha256 {source['sha256'][:12]})"


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_sources(parser)
    parser.add_argument("--output_dir", required=True, help="a new or empty directory")
    parser.add_argument("--beam_runner", help="such as DirectRunner, FlinkRunner, SparkRunner, "
                        "DataflowRunner; default: this machine, without Beam")
    parser.add_argument("--beam_options", default="", help="Beam's own options, separated by spaces")
    add_settings(parser)
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


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each kind of raw file, and for the column map."""
    for kind in KINDS:
        names = [f"--{kind}"] + (["--events"] if kind == "interactions" else [])
        parser.add_argument(*names, dest=kind, required=kind in REQUIRED,
                            help="JSONL, CSV (also .gz, .zst) or Parquet: file, pattern, directory "
                            "or URI" + ("" if kind in REQUIRED else ", optional"))
    parser.add_argument("--columns", help="YAML file: what your files call our fields, such as "
                        f"{column_map.EXAMPLE}".replace("%", "%%"))


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each field of ``Settings``."""
    for field in dataclasses.fields(Settings):
        if field.type is bool:
            parser.add_argument(f"--{field.name}", action="store_true")
        else:
            parser.add_argument(f"--{field.name}", type=field.type, default=field.default,
                                help=f"default {field.default}")


if __name__ == "__main__":
    sys.exit(main())
