"""Converts a published data set to the files of docs/data_format.md.

    python -m tools.real_data --name=esci_mini --input=DIR --output_dir=OUT

writes items.jsonl, interactions.jsonl and, where the source has them, q2i_test.jsonl,
i2i_test.jsonl and sequences.jsonl, and about.json: counts, and what the data can and cannot show.
--data_root=ROOT stands for --input=ROOT/NAME.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from gsid_jax.errors import UserError
from tools.marketplace.writer import JsonLines, staged_directory
from tools.real_data import esci, icecat, jd_titles, online_retail

SOURCES = {"esci_mini": esci.convert, "icecat": icecat.convert,
           "online_retail": online_retail.convert, "jd_titles_zh": jd_titles.convert}


def convert(name: str, folder: pathlib.Path, output_dir: pathlib.Path) -> dict:
    """Converts one source; returns what about.json holds. UserError for unusable input."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}; expected that of {name}: check --input")
    converted = SOURCES[name](folder)
    files = converted.files()
    for needed in ("items", "interactions"):
        if needed not in files:
            raise UserError(f"{folder} gives no {needed}; expected the files of {name}: check "
                            "--name and --input")
    about = {"name": name, "about": converted.about,
             "records": {file: len(records) for file, records in files.items()}}
    with staged_directory(str(output_dir)) as staging:
        for file, records in files.items():
            with JsonLines(f"{staging}/{file}.jsonl") as out:
                for record in records:
                    out.write(record)
        pathlib.Path(staging, "about.json").write_text(
            json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return about


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, choices=sorted(SOURCES))
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--input", help="folder with the published files")
    where.add_argument("--data_root", help="folder that has a folder NAME")
    parser.add_argument("--output_dir", required=True)
    args = parser.parse_args(argv)
    folder = pathlib.Path(args.input or pathlib.Path(args.data_root) / args.name)
    try:
        about = convert(args.name, folder, pathlib.Path(args.output_dir))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{count:,} {name}" for name, count in about["records"].items())
    print(f"{args.output_dir}: {counts}\n{about['about']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
