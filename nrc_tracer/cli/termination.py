"""SIGTERM, by which batch queues announce the end of a job's time, ends long work in the same way as Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable

from nrc_tracer.interruption import noted_signal

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C has ended."""
TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM has ended."""


def noted_termination() -> contextlib.AbstractContextManager[Callable[[], bool]]:
    """Let SIGTERM only be noted, however often it arrives: queues send it to a process and to its group."""
    return noted_signal(signal.SIGTERM)
