"""SIGTERM is noted, not obeyed, while a run is active."""

import os
import signal
import threading

from gsid_jax.preemption import EXIT_STATUS, Preemption


def test_notes_the_signal_and_puts_the_handler_back():
    before = signal.getsignal(signal.SIGTERM)
    with Preemption() as preemption:
        assert not preemption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.requested
    assert signal.getsignal(signal.SIGTERM) is before
    assert EXIT_STATUS == 143


def test_does_nothing_in_another_thread():
    seen = []

    def work():
        with Preemption() as preemption:
            seen.append(preemption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
