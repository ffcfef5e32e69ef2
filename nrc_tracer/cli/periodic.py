"""Something that is done every so many seconds while other work goes on."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from typing import Any

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
