"""SIGTERM, with which batch queues announce the end of a job's time, ends a render as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

TERMINATED = 128 + signal.SIGTERM
"""The exit code."""


@contextlib.contextmanager
def noted_termination() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM do nothing but be noted; yields whether it came.

    Any number of them does no more than one: queues send it to a process and to its group. Before and after, SIGTERM ends the
    process at once.
    """
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        came = True

    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield lambda: False
        return
    previous = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: came
    finally:
        # None is a handler that was not installed from Python and cannot be put back
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)
