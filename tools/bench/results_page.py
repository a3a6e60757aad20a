"""What a page of results says of how it was made."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import sys
from typing import Any

from gsid_jax.manifest import versions, write_json

EXTRA_PACKAGES = ("torch", "transformers", "bm25s", "pyarrow")


def processor() -> str:
    """The name of the processor, as far as the system tells."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def circumstances(module: str, seeds: str = "0") -> dict[str, Any]:
    """Command, date, seeds, hardware and versions."""
    found = {**versions()}
    for name in EXTRA_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"command": f"python -m {module} {shlex.join(sys.argv[1:])}".strip(),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "seeds": seeds, "hardware": f"{os.cpu_count()} CPU cores ({processor()})",
            "versions": found}


def opening(title: str, made: dict[str, Any]) -> str:
    """The first lines of a page."""
    software = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (f"# {title}\n\nMade by `{made['command']}` on {made['date']}, seeds {made['seeds']}, "
            f"{made['hardware']}, {software}.\n\n")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]]) + "\n"


def write(path: str | os.PathLike, text: str, values: dict[str, Any]) -> None:
    """Writes the page and, beside it under the same name, the values as JSON."""
    path = pathlib.Path(path)
    write_json(path.with_suffix(".json"), values)
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
