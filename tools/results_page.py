"""Writes a page of docs/results/ from evaluated runs: tables, commands, seeds, hardware, versions.

    python -m tools.results_page --title="The simulated marketplace" \\
        --evaluations=runs/marketplace_seed0/evaluation --output=docs/results/marketplace.md

Each evaluation is a directory with comparison.json (python -m gsid_jax.evaluate). A file about.json
beside the raw data (python -m tools.real_data) says what the data can and cannot show; --about
gives one for each evaluation, in the same order.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.errors import UserError
from gsid_jax.evaluate import comparison, paper_tables, tables
from tools.bench.results_page import write_text


def section(result: Mapping[str, Any], about: Mapping[str, Any] | None, heading: bool) -> str:
    """One evaluation as Markdown."""
    parts = [f"## {about['name'] if about else result['title']}"] if heading else []
    if about:
        counts = ", ".join(f"{count:,} {name}" for name, count in about["records"].items())
        parts.append(f"{about['about']}\n\nConverted: {counts}.")
    reference = result["methods"].get(result["reference"])
    if reference:
        parts.append(tables.data_line({"": {"data": reference["runs"][0]["data"]}}) + ".")
        parts.append(_branching(reference))
    parts.append(paper_tables.markdown(result).strip())
    if result["left_out"]:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in result["left_out"].items())
        parts.append(f"Left out: {paper_tables.without_folders(reasons)}.")
    return "\n\n".join(part for part in parts if part)


def _branching(reference: Mapping[str, Any]) -> str:
    levels = reference["mean"].get("codes", {})
    if not levels:
        return ""
    text = "; ".join(
        f"{level}: perplexity {health['perplexity']:.1f}, conditional "
        f"{health['conditional_perplexity']:.1f}" + (
            f", keep {100 * health['keep']:.1f}%" if "keep" in health else "")
        for level, health in sorted(levels.items()))
    flag = f" **{reference['flag']}.**" if reference["flag"] else ""
    ids = reference["mean"]["ids"]
    return (f"GSID's codes: {text}. {ids['distinct']:,.0f} distinct IDs, {ids['shared']:,.0f} of "
            f"them shared by {ids['items_in_shared']:,.0f} items.{flag}")


def page(title: str, intro: str, evaluations: Sequence[str], abouts: Sequence[str]) -> str:
    """The whole page. UserError for an evaluation or about file that is missing."""
    if abouts and len(abouts) != len(evaluations):
        raise UserError(f"--about has {len(abouts)} files for {len(evaluations)} evaluations; "
                        "expected one for each, or none")
    parts = [f"# {title}"] + ([intro] if intro else [])
    for number, directory in enumerate(evaluations):
        about = None
        if abouts:
            path = pathlib.Path(abouts[number])
            if not path.is_file():
                raise UserError(f"no file {path}; expected what tools.real_data writes")
            about = json.loads(path.read_text(encoding="utf-8"))
        parts.append(section(comparison.read(directory), about, len(evaluations) > 1))
    return "\n\n".join(parts) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--title", required=True)
    parser.add_argument("--intro", default="", help="a paragraph under the title")
    parser.add_argument("--evaluations", required=True, help="comma-separated directories")
    parser.add_argument("--about", default="", help="comma-separated about.json, one for each")
    parser.add_argument("--output", required=True, help="Markdown file to write")
    args = parser.parse_args(argv)
    try:
        text = page(args.title, args.intro, args.evaluations.split(","),
                    [each for each in args.about.split(",") if each])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_text(args.output, text)
    print(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
