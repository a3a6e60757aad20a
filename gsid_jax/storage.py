"""Tells a disk that is full or cannot be written from other failures."""

import errno
import os

_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)


def problem(error: BaseException) -> str | None:
    """'No space left on device' and the like if that is behind `error`, else None.

    Looks at causes too, and at the text: the libraries that write checkpoints and Parquet report
    the system's words in errors of their own.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _ERRNOS:
            return os.strerror(seen.errno)
        for number in _ERRNOS:
            if os.strerror(number).lower() in str(seen).lower():
                return os.strerror(number)
        seen = seen.__cause__ or seen.__context__
    return None
