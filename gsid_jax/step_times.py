"""Where the time of a training run goes: shares of a report's window, and goodput of the run."""

import contextlib
import time
from collections.abc import Callable, Iterator

# What the loop does, in the order of a report. `device` is waiting for the step's results.
KINDS = ("data", "dispatch", "device", "evaluation", "checkpoint")
SLOW_INPUT = 0.25  # share of the window spent waiting for data from which on it is said


class StepTimes:
    """Adds up seconds by kind.

    The host prepares step n + 1 while the device works on step n, so waiting for data costs
    something only if the device then has nothing to do: if the host waits longer for data than
    for the device.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._begun = self._window_begun = now()
        self._window = dict.fromkeys(KINDS, 0.0)
        self._stepping = 0.0  # seconds of the whole run in which steps advanced
        self._warned = False

    @contextlib.contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """Counts the block's time as `kind`."""
        begun = self._now()
        try:
            yield
        finally:
            self._window[kind] += self._now() - begun

    def start(self) -> None:
        """Begins a new window, as after compiling: what came before counts as no step's."""
        self._window = dict.fromkeys(KINDS, 0.0)
        self._window_begun = self._now()

    def report(self) -> tuple[dict[str, float], str | None]:
        """Ends a window: (scalars, warning).

        Scalars: `time/<kind>` and `time/other`, shares of the window; `goodput`, the share of the
        time since the start in which training steps advanced (not compiling, evaluating, saving).
        The warning is given once a run.
        """
        now = self._now()
        seconds = max(now - self._window_begun, 1e-9)
        self._stepping += seconds - self._window["evaluation"] - self._window["checkpoint"]
        shares = {f"time/{kind}": spent / seconds for kind, spent in self._window.items()}
        shares["time/other"] = max(0.0, 1.0 - sum(shares.values()))
        shares["goodput"] = self._stepping / max(now - self._begun, 1e-9)
        data, device = self._window["data"], self._window["device"]
        warning = None
        if not self._warned and data > device and data > SLOW_INPUT * seconds:
            self._warned = True
            warning = (f"the input pipeline is the bottleneck: the device waits {data / seconds:.0%}"
                       " of the time for data; raise tasks.loading.reading.threads and "
                       "prefetch_batches, or read from a faster disk")
        self.start()
        return shares, warning
