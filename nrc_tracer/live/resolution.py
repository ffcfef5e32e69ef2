"""The size of frames while the camera moves: as large as the frame rate allows."""

from __future__ import annotations

import math

LEVELS = tuple(2.0 ** (-k / 4.0) for k in range(21))
"""Factors by which a side may be reduced, from 1 down to 1/32."""

LEAST_PIXELS = 320 * 180
"""Number of pixels that a moving frame has at least, if the view has as many, however long it takes."""

ROOM = 0.9
"""Fraction of a frame's time that a chosen size may be expected to take."""

GROWTH_ROOM = 0.75
"""The same for a size larger than the current one, so that sizes do not alternate."""

MEMORY = 0.7
"""Weight of earlier measurements against a new one."""


class MovingSize:
    """Chooses the size of moving frames from the times that such frames have taken.

    Args:
        frame_seconds: Time that a frame should take [s].
        least_pixels: Fewest pixels of a frame, unless the view itself has fewer.
    """

    def __init__(self, frame_seconds: float, least_pixels: int = LEAST_PIXELS) -> None:
        self._frame_seconds, self._least_pixels = frame_seconds, least_pixels
        self._seconds_per_pixel: float | None = None
        self._level: int | None = None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the next moving frame of a view of this size [pixels]."""
        sizes = [_reduced(width, height, factor) for factor in LEVELS]
        large = [level for level, (w, h) in enumerate(sizes) if w * h >= self._least_pixels]
        lowest = large[-1] if large else 0
        if self._seconds_per_pixel is None:  # nothing is known before the first frame: begin fast
            self._level = lowest
            return sizes[lowest]
        current = lowest if self._level is None else min(self._level, lowest)
        for level in range(lowest + 1):
            room = GROWTH_ROOM if level < current else ROOM
            if sizes[level][0] * sizes[level][1] * self._seconds_per_pixel <= room * self._frame_seconds:
                break
        self._level = level
        return sizes[level]

    def measured(self, width: int, height: int, seconds: float) -> None:
        """Take note of the time [s] that a moving frame of this size took."""
        found = max(seconds, 1e-6) / (width * height)
        known = self._seconds_per_pixel
        self._seconds_per_pixel = (
            found if known is None else math.exp(MEMORY * math.log(known) + (1.0 - MEMORY) * math.log(found))
        )


def _reduced(width: int, height: int, factor: float) -> tuple[int, int]:
    return max(1, round(width * factor)), max(1, round(height * factor))
