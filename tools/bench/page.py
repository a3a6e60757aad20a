"""A page of docs/results: what was run, where, with what, and one table."""

import datetime
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

from gsid_jax.manifest import versions


def results_page(title: str, command: str, text: str, header: Sequence[str],
                 rows: Sequence[Sequence[Any]], more: str = "") -> str:
    """Markdown with the command, date, hardware, versions, `text`, the table and `more`."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [f"# {title}", "",
             f"Made by `{command}` on {datetime.datetime.now(datetime.timezone.utc).date()}, "
             f"{hardware()}, {software}.", "", text, "", *table(header, rows)]
    return "\n".join(lines) + "\n" + (f"\n{more.strip()}\n" if more else "")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header),
            *("| " + " | ".join(str(value) for value in row) + " |" for row in rows)]


def hardware() -> str:
    """'2 CPU cores (AMD EPYC 9R14)' of this machine."""
    name = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.partition(":")[2].strip() for line in file
                         if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{os.cpu_count()} CPU cores ({name})"


def write_page(text: str, output: pathlib.Path | None) -> None:
    """Prints a page, and writes it if a file is given."""
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    print(text)
