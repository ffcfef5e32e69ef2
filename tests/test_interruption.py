"""Signals that are noted rather than obeyed, and the handlers before and after."""

import os
import signal
import threading

import pytest

from nrc_tracer.interruption import deferred_interrupt, noted_signal


def test_the_first_is_noted_and_the_second_raises():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as came:  # noqa: PT012
        assert not came()
        os.kill(os.getpid(), signal.SIGINT)
        assert came()
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_second_meaning_any_number_is_one():
    with noted_signal(signal.SIGTERM) as came:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert came()


@pytest.mark.parametrize(
    ("number", "usual"), [(signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)]
)
def test_a_handler_that_was_not_installed_from_python(number, usual, monkeypatch):
    """Python has None for it, which cannot be put back; then the usual one is."""
    calls = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: calls.append((number, handler)))
    with noted_signal(number):
        pass
    assert calls[-1] == (number, usual)


def test_outside_the_main_thread_none_comes():
    found = []

    def work():
        with noted_signal(signal.SIGTERM) as came:
            found.append(came())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
