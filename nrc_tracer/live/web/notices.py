"""Which errors are worth showing: the same error in every frame would cover the page."""

from __future__ import annotations

import time
from collections.abc import Callable

SAME_MESSAGE_SECONDS = 10.0
"""Time for which an error is not shown again [s]."""

MOST_MESSAGES = 3
"""Largest number of errors that are shown within that time."""


class Notices:
    """Decides which errors a page shows.

    Args:
        now: The clock [s].
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._shown: dict[str, float] = {}

    def is_due(self, message: str) -> bool:
        """Whether to show a message, which then counts as shown: not if it was shown a moment ago, or if there were many."""
        now = self._now()
        self._shown = {text: at for text, at in self._shown.items() if now - at < SAME_MESSAGE_SECONDS}
        if message in self._shown or len(self._shown) >= MOST_MESSAGES:
            return False
        self._shown[message] = now
        return True
