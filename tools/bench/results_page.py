"""Pages of results: how they were made, their tables, and writing them."""

import datetime
import importlib.metadata
import os
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from gsid_jax.manifest import hardware, versions, write_json

EXTRA_PACKAGES = ("torch", "transformers", "bm25s", "pyarrow")


def all_versions() -> dict[str, str]:
    """Versions of what results depend on, the packages of comparisons among them."""
    found = {**versions()}
    for name in EXTRA_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def circumstances(module: str, seeds: str = "0") -> dict[str, Any]:
    """What `made` says of this process, which is `module`'s."""
    return made(f"python -m {module} {shlex.join(sys.argv[1:])}".strip(), seeds)


def made(command: str, seeds: str = "") -> dict[str, Any]:
    """Command, date, seeds, hardware and versions."""
    return {"command": command,
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "seeds": seeds, "hardware": hardware(),
            "versions": all_versions()}


def opening(title: str, how: dict[str, Any]) -> str:
    """The first lines of a page; `how` is what `made` gave."""
    software = ", ".join(f"{name} {version}" for name, version in how["versions"].items())
    seeds = f"seeds {how['seeds']}, " if how["seeds"] else ""
    return (f"# {title}\n\nMade by `{how['command']}` on {how['date']}, {seeds}"
            f"{how['hardware']}, {software}.\n\n")


def results_page(title: str, command: str, text: str, header: Sequence[str],
                 rows: Sequence[Sequence[Any]], more: str = "") -> str:
    """Markdown with the command, date, hardware, versions, `text`, the table and `more`."""
    return (f"{opening(title, made(command))}{text}\n\n{table(header, rows)}"
            + (f"\n{more.strip()}\n" if more else ""))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in [header, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]]) + "\n"


def write(path: str | os.PathLike, text: str, values: dict[str, Any]) -> None:
    """Writes the page and, beside it under the same name, the values as JSON."""
    write_json(pathlib.Path(path).with_suffix(".json"), values)
    write_text(path, text)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes the page under a temporary name, then renames."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_page(text: str, output: pathlib.Path | None) -> None:
    """Prints a page, and writes it if a file is given."""
    if output:
        write_text(output, text)
    print(text)
