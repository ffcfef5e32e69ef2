"""SIGTERM, with which batch queues announce the end of a job's time, ends long work as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable

from nrc_tracer.interruption import noted_signal

TERMINATED = 128 + signal.SIGTERM
"""The exit code."""


def noted_termination() -> contextlib.AbstractContextManager[Callable[[], bool]]:
    """Let SIGTERM do nothing but be noted, however often it comes: queues send it to a process and to its group."""
    return noted_signal(signal.SIGTERM)
