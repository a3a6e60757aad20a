"""Stages of other runs, taken over where they would come out the same.

A stage is decided by its configuration and the stages it builds on: those before it (of the dual
encoder: the data, the vocabulary and pre-training). A run that takes those over need not compute it
again. Files are linked, not copied, where the file system allows; nobody changes the files of a
finished stage.
"""

import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence

from gsid_jax.errors import UserError
from gsid_jax.manifest import Manifest


def take(manifest: Manifest, name: str, config: Mapping[str, str], outputs: Sequence[str],
         donors: Sequence[str], needs: Sequence[str]) -> bool:
    """Takes stage `name` over from the first run of `donors` that finished it with this `config`,
    and the stages it `needs` as this run did.

    Returns whether the stage is done, taken over now or before. Raises UserError for a donor that
    is no run.
    """
    if manifest.done(name):
        return True
    for donor in donors:
        if not (pathlib.Path(donor) / "manifest.json").exists():
            raise UserError(f"pipeline.Pipeline.reuse: {donor} holds no manifest.json; expected the "
                            "directory of a run: correct the path")
        theirs = Manifest(donor)
        entry = theirs.content["stages"].get(name, {})
        if not (theirs.done(name) and entry["config"] == dict(config)
                and all(_config(theirs, need) == _config(manifest, need) for need in needs)):
            continue
        for folder in sorted({pathlib.PurePath(output).parent for output in outputs}):
            _link(theirs.run_dir / folder, manifest.run_dir / folder)
        manifest.content["stages"][name] = {**entry, "taken_from": str(theirs.run_dir)}
        manifest.save()
        return True
    return False


def _config(manifest: Manifest, name: str) -> Mapping[str, str] | None:
    return manifest.content["stages"].get(name, {}).get("config")


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """Links the files of a folder, without an assignment in it, which is a stage of its own."""
    ignored = shutil.ignore_patterns("assignment", "assignment.partial", "*.tmp")
    shutil.copytree(source, target, ignore=ignored, copy_function=_link_file, dirs_exist_ok=True)


def _link_file(source: str, target: str) -> None:
    if os.path.exists(target):
        return  # left by a take-over that was cut off
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
