"""One writer at a time for an output directory."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from gsid_jax.errors import UserError


@contextlib.contextmanager
def locked(output: pathlib.Path) -> Iterator[None]:
    """Holds ``<output>.lock`` while the block runs; UserError if another process does.

    The system lets go of the lock when its holder dies, so a killed build does not block the next.
    """
    path = output.with_name(f"{output.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 32).decode(errors="replace").strip()
            raise UserError(f"{output} is being written by process {holder or '(unknown)'}; expected "
                            "one writer at a time: wait for it, or choose another --output_dir"
                            ) from None
        os.ftruncate(file, 0)
        os.write(file, str(os.getpid()).encode())
        if not _is_at(file, path):  # its holder removed it between our opening and locking
            raise UserError(f"{output} was just written by another process; expected one writer at "
                            "a time: start again")
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    finally:
        os.close(file)


def _is_at(file: int, path: pathlib.Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.fstat(file).st_ino == os.stat(path).st_ino
    return False
