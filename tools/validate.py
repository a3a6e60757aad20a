"""Looks at raw files before a build: what is in them, what is wrong, what the build would drop.

    python -m tools.validate --items=items.jsonl --events=events.jsonl [--json=report.json] \\
        [--vocabulary=sentencepiece.model]

reads each file once, prints a report and writes it as JSON. The options of the files, the column
map and the settings are those of ``tools.build_dataset``. The exit status is 1 if a file cannot be
read or holds no good record, and with --strict also if there is any bad record.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tasks import column_map, data_profile, raw_paths
from tasks.dataset_settings import Settings
from tasks.sidecars import KINDS
from tools.build_dataset import add_settings, add_sources


def validate(files: Mapping[str, str | os.PathLike | None], settings: Settings = Settings(),
             columns: str | Mapping[str, Any] | None = None,
             vocabulary: str | os.PathLike | None = None) -> dict[str, Any]:
    """Reads raw files and returns the report.

    Args:
      files: path by kind (``sidecars.KINDS``).
      settings: those of the build.
      columns: see ``tasks.column_map``.
      vocabulary: a SentencePiece model, for lengths in tokens.

    Raises UserError for a path, a column map or a vocabulary that cannot be read.
    """
    names = column_map.load(columns)
    sources = {kind: raw_paths.resolve(path, kind, names.get(kind))
               for kind, path in files.items() if path}
    tokenizer = None
    if vocabulary:
        from tasks.vocabulary import SPECIAL_TOKENS, load
        tokenizer = load(os.fspath(vocabulary), SPECIAL_TOKENS).tokenizer
    begun = time.monotonic()
    report = data_profile.Profile(settings, tokenizer).run(sources)
    return report | {"seconds": round(time.monotonic() - begun, 2)}


def bad(report: Mapping[str, Any], strict: bool) -> bool:
    """Whether a report is a failure."""
    kinds = [report[kind] for kind in KINDS if kind in report]
    return any("error" in found or (strict and found["rejected"]) for found in kinds)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_sources(parser)
    parser.add_argument("--vocabulary", help="SentencePiece model, for lengths in tokens")
    parser.add_argument("--json", help="file that receives the report")
    parser.add_argument("--strict", action="store_true", help="any bad record is a failure")
    add_settings(parser)
    args = vars(parser.parse_args(argv))
    try:
        settings = Settings(**{field.name: args[field.name]
                               for field in dataclasses.fields(Settings)})
        report = validate({kind: args[kind] for kind in KINDS}, settings, args["columns"],
                          args["vocabulary"])
        if args["json"]:
            try:
                write_json(args["json"], report)
            except OSError as error:
                raise UserError(f"report {args['json']} cannot be written ({error.strerror}); "
                                "expected a writable place: correct --json") from error
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(data_profile.lines(report)))
    return int(bad(report, args["strict"]))


if __name__ == "__main__":
    sys.exit(main())
