"""Something that is done every so many seconds while other work goes on."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from typing import Any

from nrc_tracer.errors import NrcError

LARGEST_SHARE = 0.05
"""Of the time, that may go into it: where it takes long, the next waits longer."""


class Periodic:
    """Calls `work` when it is due.

    Args:
        work: What to do.
        every: Seconds between two calls.
    """

    def __init__(self, work: Callable[..., object], every: float) -> None:
        self._work, self._every = work, every
        self._due = 0.0

    def start(self) -> None:
        """Count the seconds from now on."""
        self._due = clock.perf_counter() + self._every

    def run_if_due(self, *args: Any) -> None:
        """Call `work` with these arguments if it is time."""
        start = clock.perf_counter()
        if start < self._due:
            return
        try:
            self._work(*args)
        finally:
            end = clock.perf_counter()
            self._due = end + max(self._every, (end - start) / LARGEST_SHARE)


class Jobs:
    """Several of them. What fails is a warning, told once however often it is tried again.

    Args:
        jobs: What to do.
        warn: Tells an error.
    """

    def __init__(self, jobs: list[Periodic], warn: Callable[[NrcError], None]) -> None:
        self._jobs, self._warn = jobs, warn
        self._warned: set[str] = set()

    def start(self) -> None:
        """Count the seconds from now on."""
        for job in self._jobs:
            job.start()

    def run_due(self, *args: Any) -> None:
        """Do with these arguments what is due."""
        for job in self._jobs:
            self.attempt(job.run_if_due, *args)

    def attempt(self, work: Callable[..., object], *args: Any) -> None:
        """Do something whose failure is such a warning too."""
        try:
            work(*args)
        except NrcError as error:
            if str(error) not in self._warned:
                self._warned.add(str(error))
                self._warn(error)
