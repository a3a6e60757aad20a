"""SIGTERM during training: finish the step, save, leave."""

import signal
import threading

EXIT_STATUS = 128 + signal.SIGTERM  # what a shell reports for a process ended by SIGTERM


class Preemption:
    """While active, SIGTERM sets `requested` instead of killing the process.

    Does nothing outside the main thread, where Python takes no signals.
    """

    def __init__(self):
        self.requested = False
        self._previous = None

    def _note(self, number, frame):
        del number, frame
        self.requested = True

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *exception) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None
