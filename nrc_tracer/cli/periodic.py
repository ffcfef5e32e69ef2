"""Work that is repeated every few seconds between the steps of other work, such as writing a checkpoint."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from typing import Any

from nrc_tracer.errors import NrcError

LARGEST_SHARE = 0.05
"""Largest fraction of the total time that repeated work may take: slow work is repeated less often."""


class Periodic:
    """Calls `work` when it is due.

    Args:
        work: The work.
        every: Shortest time between two calls in seconds.
    """

    def __init__(self, work: Callable[..., object], every: float) -> None:
        self._work, self._every = work, every
        self._due = 0.0

    def start(self) -> None:
        """Count the seconds from now on."""
        self._due = clock.perf_counter() + self._every

    def run_if_due(self, *args: Any) -> None:
        """Call `work` with these arguments if it is due."""
        start = clock.perf_counter()
        if start < self._due:
            return
        try:
            self._work(*args)
        finally:
            end = clock.perf_counter()
            self._due = end + max(self._every, (end - start) / LARGEST_SHARE)


class Jobs:
    """Several kinds of periodic work. An error in one of them becomes a warning; the same warning is given only once.

    Args:
        jobs: The kinds of work.
        warn: Reports an error.
    """

    def __init__(self, jobs: Sequence[Periodic], warn: Callable[[NrcError], None]) -> None:
        self._jobs, self._warn = jobs, warn
        self._warned: set[str] = set()

    def start(self) -> None:
        """Count the seconds from now on."""
        for job in self._jobs:
            job.start()

    def run_due(self, *args: Any) -> None:
        """Do the work that is due, with these arguments."""
        for job in self._jobs:
            self.attempt(job.run_if_due, *args)

    def attempt(self, work: Callable[..., object], *args: Any) -> None:
        """Do some other work whose errors become warnings too."""
        try:
            work(*args)
        except NrcError as error:
            if str(error) not in self._warned:
                self._warned.add(str(error))
                self._warn(error)
