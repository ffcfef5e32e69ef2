"""Signals that are recorded instead of ending the program, and the handlers that are installed before and afterwards."""

import os
import signal
import threading

import pytest

from nrc_tracer.interruption import deferred_interrupt, noted_signal


def test_the_first_interrupt_is_recorded_and_the_second_raises():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as came:  # noqa: PT012
        assert not came()
        os.kill(os.getpid(), signal.SIGINT)
        assert came()
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_repeated_noted_signal_counts_once():
    with noted_signal(signal.SIGTERM) as came:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert came()


@pytest.mark.parametrize(
    ("number", "usual"), [(signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)]
)
def test_a_handler_installed_outside_python_is_replaced_by_the_default(number, usual, monkeypatch):
    """Python returns None for such a handler, which cannot be installed again; the default handler is installed instead."""
    calls = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: calls.append((number, handler)))
    with noted_signal(number):
        pass
    assert calls[-1] == (number, usual)


def test_no_signal_is_recorded_outside_the_main_thread():
    found = []

    def work():
        with noted_signal(signal.SIGTERM) as came:
            found.append(came())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
