"""One progress line for long passes: how far, how fast, how long still."""

import sys
import time
from collections.abc import Callable
from typing import TextIO


def clock(seconds: float) -> str:
    """Formats seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Prints ``label: 12,288 of 50,000 (24.6%), 1,930/s, 0:19 left`` every few seconds.

    Rows finished before this process started (``done``) count as progress but not as speed. A line
    is printed at most every ``interval`` seconds, and one when the pass is complete. The first line
    waits for ``interval`` too, so a short pass prints its final line only.
    """

    def __init__(self, label: str, total: int, done: int = 0, interval: float = 5.0,
                 stream: TextIO | None = None, now: Callable[[], float] = time.monotonic):
        self._label = label
        self._total = total
        self._done = self._first = done
        self._interval = interval
        self._stream = stream or sys.stderr
        self._now = now
        self._start = self._last = now()

    def update(self, rows: int) -> None:
        """Counts ``rows`` more rows as finished, and prints a line if it is time."""
        self._done += rows
        now = self._now()
        if now - self._last >= self._interval and self._done < self._total:
            self._last = now
            rate = (self._done - self._first) / max(now - self._start, 1e-9)
            left = clock((self._total - self._done) / rate) if rate > 0 else "?"
            share = self._done / max(self._total, 1)
            self._print(f"{self._done:,} of {self._total:,} ({share:.1%}), {rate:,.0f}/s, "
                        f"{left} left")

    def finish(self) -> None:
        """Prints the last line: rows, rate and time of the whole pass."""
        seconds = self._now() - self._start
        rate = (self._done - self._first) / max(seconds, 1e-9)
        self._print(f"{self._done:,} done in {clock(seconds)} ({rate:,.0f}/s)")

    def _print(self, text: str) -> None:
        print(f"{self._label}: {text}", file=self._stream, flush=True)
