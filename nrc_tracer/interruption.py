"""Signals that end long work between two of its steps, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class InterruptedWarning(UserWarning):
    """Ctrl-C ended long work early; the message says what was finished."""


@contextmanager
def noted_signal(number: int, *, repeated: type[BaseException] | None = None) -> Iterator[Callable[[], bool]]:
    """Record a signal instead of acting on it, and restore its handler afterwards.

    Outside the main thread, where Python allows no handlers, the signal is not recorded.

    Args:
        number: The signal's number.
        repeated: Exception to raise at once if the signal arrives again. None ignores further signals.

    Yields:
        A function that returns whether the signal has arrived.
    """
    arrived = False

    def note(number: int, frame: object) -> None:
        nonlocal arrived
        if arrived and repeated is not None:
            raise repeated
        arrived = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(number, note)
    try:
        yield lambda: arrived
    finally:
        # None stands for a handler that was not installed from Python, so it cannot be restored
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default if previous is None else previous)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Record a first Ctrl-C, so that no change is interrupted halfway; a second one raises at once. Yields as `noted_signal`."""
    with noted_signal(signal.SIGINT, repeated=KeyboardInterrupt) as interrupted:
        yield interrupted
