"""What is known about a training over time: its loss and its scores."""

from __future__ import annotations

MOST_POINTS = 400
"""Largest number of points of a curve. When there are more, every other one is dropped."""


class Curve:
    """A number over the time of training.

    Attributes:
        seconds: Times of training [s].
        values: The numbers.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.values: list[float] = []
        self._gap = 0.0  # shortest time between two points [s]

    def add(self, seconds: float, value: float, *, always: bool = False) -> None:
        """Add a point, unless the last one was added very recently; `always`: add it in any case."""
        if not always and self.seconds and seconds - self.seconds[-1] < self._gap:
            return
        self.seconds.append(seconds)
        self.values.append(value)
        if len(self.seconds) > MOST_POINTS:
            self.seconds, self.values = self.seconds[::2], self.values[::2]
            self._gap = 2.0 * (self.seconds[-1] - self.seconds[0]) / MOST_POINTS

    @property
    def last(self) -> float | None:
        """The newest number; None if there is none."""
        return self.values[-1] if self.values else None
