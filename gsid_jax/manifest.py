"""manifest.json of a run: which stages are done, from what configuration, with what outputs.

A stage whose configuration differs from the one recorded is refused with the difference named:
a run never mixes artefacts of different configurations.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from typing import Iterator, Mapping, Sequence

from gsid_jax.errors import UserError

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "seqio", "tensorflow",
            "tensorflow-datasets", "sentencepiece", "numpy")


def write_json(path: str | os.PathLike, value) -> None:
    """Writes JSON under a temporary name and renames, so that no reader sees half a file."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, ensure_ascii=False)
        f.write("\n")
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def read_json(path: str | os.PathLike, fix: str) -> dict:
    """What a JSON file holds, {} if there is none; UserError ending in `fix` if it is broken."""
    path = pathlib.Path(path)
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise UserError(f"{path} cannot be read as JSON ({e}); {fix}") from e


def file_hash(path: str | os.PathLike) -> str:
    """sha256 of a file's bytes, hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def hardware() -> str:
    """'2 CPU cores (AMD EPYC 9R14)' or '1 of 2 CPU cores (...)', as far as the system tells."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = f"{allowed} of " if allowed != os.cpu_count() else ""
    return f"{share}{os.cpu_count()} CPU cores ({names[0] if names else platform.machine()})"


def versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def difference(before: Mapping[str, str], now: Mapping[str, str], limit: int = 3) -> str:
    """The first differing settings as text: 'NAME: was X, now Y; ...'."""
    lines = []
    for name in sorted(set(before) | set(now)):
        old, new = before.get(name, "(not set)"), now.get(name, "(not set)")
        if old != new:
            lines.append(f"{name}: was {old}, now {new}")
    more = f"; and {len(lines) - limit} more" if len(lines) > limit else ""
    return "; ".join(lines[:limit]) + more


class Manifest:
    """The manifest of one run directory; every change is on disk when the call returns."""

    def __init__(self, run_dir: str | os.PathLike):
        self.run_dir = pathlib.Path(run_dir)
        self.path = self.run_dir / "manifest.json"
        if self.path.exists():
            try:
                self.content = json.loads(self.path.read_text(encoding="utf-8"))
                self.content["stages"].items()
            except (ValueError, KeyError, AttributeError, TypeError) as e:
                raise UserError(f"{self.path}: not a run's manifest ({e}); expected the JSON that "
                                "the pipeline writes; use another RUN_DIR") from e
        else:
            self.content = {"versions": versions(), "stages": {}}

    def done(self, name: str) -> bool:
        return self.content["stages"].get(name, {}).get("status") == "done"

    def check(self, name: str, config: Mapping[str, str], work: str) -> None:
        """Refuses a stage that was begun, or finished, from another configuration.

        A stage that left no work behind (`work`, a path in the run) may begin anew from any.
        """
        recorded = self.content["stages"].get(name)
        if recorded is None or recorded["config"] == dict(config):
            return
        if recorded["status"] != "done":
            if not (self.run_dir / work).exists():
                del self.content["stages"][name]
                return
            fix = f", or remove {self.run_dir / work} to begin this stage anew"
        else:
            fix = ""
        raise UserError(
            f"{self.run_dir}: stage '{name}' was {recorded['status']} with another configuration "
            f"({difference(recorded['config'], config)}); a run does not mix artefacts of "
            f"different configurations: give the old values back, or use another RUN_DIR{fix}")

    @contextlib.contextmanager
    def stage(self, name: str, config: Mapping[str, str], outputs: Sequence[str],
              work: str) -> Iterator[bool]:
        """Runs a stage: yields False when it is done already, True when the block is to run.

        Seconds add up over interrupted runs. The stage is done when the block ends without an
        exception; only then is it recorded so. `work` is the path that holds what an unfinished
        stage would go on from.
        """
        self.check(name, config, work)
        if self.done(name):
            missing = [o for o in outputs if not (self.run_dir / o).exists()]
            if missing:
                raise UserError(f"{self.run_dir}: stage '{name}' is recorded as done but "
                                f"{missing[0]} is missing; restore it, or use another RUN_DIR")
            yield False
            return
        entry = self.content["stages"].setdefault(
            name, {"status": "begun", "config": dict(config), "outputs": list(outputs),
                   "seconds": 0.0})
        self.save()
        begun, so_far = time.monotonic(), entry["seconds"]
        try:
            yield True
        except BaseException:
            entry["seconds"] = so_far + time.monotonic() - begun
            with contextlib.suppress(OSError):  # the reason for the failure matters more
                self.save()
            raise
        entry.update(status="done", seconds=round(so_far + time.monotonic() - begun, 2),
                     finished=datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"))
        self.save()

    def save(self) -> None:
        write_json(self.path, self.content)
