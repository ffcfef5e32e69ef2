"""Signals that end long work between its steps, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def noted_signal(number: int, *, repeated: type[BaseException] | None = None) -> Iterator[Callable[[], bool]]:
    """Let a signal do nothing but be noted; yields whether it came. Before and after, it does what it did.

    Outside the main thread, where Python allows no handlers, it is as if it never came.

    Args:
        number: Of the signal.
        repeated: Raised at once when it comes again; unless given, more of it do no more than one.
    """
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        if came and repeated is not None:
            raise repeated
        came = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(number, note)
    try:
        yield lambda: came
    finally:
        # None is a handler that was not installed from Python and cannot be put back
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual if previous is None else previous)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let a first Ctrl-C wait until it is asked for, so that what is being changed is whole; a second one raises at once."""
    with noted_signal(signal.SIGINT, repeated=KeyboardInterrupt) as came:
        yield came
