"""Files of a finished run under another directory, without copying what may be shared."""

import os
import pathlib
import shutil
from collections.abc import Sequence

from gsid_jax.errors import UserError


def link_tree(source: pathlib.Path, target: pathlib.Path, leave: Sequence[str] = ()) -> None:
    """The same files under another directory: hard links where the file system has them."""
    if target.exists():
        return
    if not source.is_dir():
        raise UserError(f"{source} is missing; expected what the pipeline writes: restore it")

    def link(source, target):
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=link,
                    ignore=lambda directory, names: [
                        name for name in names if name in leave
                        and pathlib.Path(directory) == source])
    os.replace(partial, target)
