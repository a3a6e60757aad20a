"""The command line of a tool that returns lines to print."""

import argparse
import sys
from collections.abc import Callable, Sequence

from gsid_jax import quiet
from gsid_jax.errors import UserError


def run(parser: argparse.ArgumentParser, work: Callable[..., list[str]],
        argv: Sequence[str] | None) -> int:
    """Prints what `work` returns for the flags; a UserError becomes `error: ...` and status 1."""
    args = vars(parser.parse_args(argv))
    quiet.tensorflow()
    try:
        lines = work(**args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0
