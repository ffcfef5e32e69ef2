"""Drawing a still picture in passes: small pictures first, then all pixels, then more samples of each pixel."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

Painter = Callable[[np.ndarray], np.ndarray]
"""Computes the values [N, channels] of points of a picture, float64 [N, 2]: their columns and rows as fractions of its width and
height, from 0 to 1."""

STRIDES = (8, 4, 2)
"""Pixels along each side of the picture that stand for one pixel of the small pictures."""

PIECE_SECONDS = 0.06
"""Time that a piece of a picture should take, after which a frame may be interrupted [s]."""

LEAST_PIECE, MOST_PIECE = 4096, 1 << 17
"""Fewest and most points of a piece: each has a fixed cost, which few points would not pay."""


PROBES = 1024
"""Number of points by which the speed is first estimated."""


class Speed:
    """The measured time per point of a painter.

    Args:
        now: The clock [s].
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.seconds_per_point = 0.0

    def find(self, painter: Painter) -> None:
        """Paint a few points all over the picture if nothing is known yet, and once more to leave out what happens only once."""
        if self.seconds_per_point == 0.0:
            points = np.array([sample_place(index) for index in range(PROBES)])
            for _ in range(2):
                self.seconds_per_point = 0.0
                self.paint(painter, points)

    def piece(self) -> int:
        """Number of points of the next piece."""
        return int(min(max(PIECE_SECONDS / max(self.seconds_per_point, 1e-9), LEAST_PIECE), MOST_PIECE))

    def paint(self, painter: Painter, points: np.ndarray) -> np.ndarray:
        """Paint points, and measure the time."""
        start = self.now()
        values = painter(points)
        found = max(self.now() - start, 1e-9) / max(len(points), 1)
        known = self.seconds_per_point
        # Many points cost less each than few, and the next picture can be larger at once
        self.seconds_per_point = found if found < known or known == 0.0 else known + 0.4 * (found - known)
        return values


class Refinement:
    """The picture of one view, which becomes finer with time.

    Args:
        width, height: Its size [pixels].
        samples: Samples per pixel after which it is complete.
        least_pixels: Number of pixels that its small pictures must exceed. Smaller ones are left out.
        speed: Measures the painter.
    """

    def __init__(self, width: int, height: int, *, samples: int, least_pixels: int, speed: Speed) -> None:
        self._size, self._most, self._speed = (width, height), samples, speed
        small = [(-(-width // stride), -(-height // stride)) for stride in STRIDES]
        self._small = [size for size in small if size[0] * size[1] > least_pixels]
        self._sum: np.ndarray | None = None
        self._parts: list[np.ndarray] = []
        self._painted = 0  # points of the current pass
        self.samples = 0
        self.picture: np.ndarray | None = None

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to add."""
        return self.samples >= self._most

    def add(self, painter: Painter, seconds: float, interrupted: Callable[[], bool]) -> bool:
        """Continue for some time.

        Args:
            painter: Computes the values of points, always the same ones.
            seconds: Time after which no new piece is begun [s].
            interrupted: Asked before each piece. The pieces so far are kept.

        Returns:
            Whether `picture` has changed: float32 [height, width, channels], whose sides are those of the view or smaller.
        """
        end, has_changed = self._speed.now() + seconds, False
        while not self.is_complete and not interrupted():
            width, height = self._small[0] if self._small else self._size
            piece = range(self._painted, min(self._painted + self._speed.piece(), width * height))
            self._parts.append(self._speed.paint(painter, self._points(piece, width, height)))
            self._painted = piece.stop
            if self._painted == width * height:
                self._end_pass(width, height)
                has_changed = True
            if self._speed.now() >= end:
                break
        return has_changed

    def _points(self, piece: range, width: int, height: int) -> np.ndarray:
        shift = (0.5, 0.5) if self._small else sample_place(self.samples)
        return pixel_points(np.arange(piece.start, piece.stop), width, height, shift)

    def _end_pass(self, width: int, height: int) -> None:
        values = np.concatenate(self._parts).reshape(height, width, -1)
        self._parts, self._painted = [], 0
        if self._small:
            self._small.pop(0)
            self.picture = values
            return
        self.samples += 1
        self._sum = values if self._sum is None else self._sum + values
        self.picture = self._sum / np.float32(self.samples)


def sample_place(index: int) -> tuple[float, float]:
    """The place of a sample in its pixel, in [0, 1]^2: the centre, then points of the R sequence of M. Roberts (2018)."""
    return (0.5 + 0.7548776662466927 * index) % 1.0, (0.5 + 0.5698402909980532 * index) % 1.0


def pixel_points(pixels: np.ndarray, width: int, height: int, shift: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """Points of pixels as fractions of a picture's width and height, float64 [N, 2].

    Args:
        pixels: Numbers of the pixels, row by row, int [N].
        width, height: Size of the picture [pixels].
        shift: Place in each pixel, in [0, 1]^2.
    """
    rows, columns = np.divmod(pixels, width)
    return np.column_stack(((columns + shift[0]) / width, (rows + shift[1]) / height))
