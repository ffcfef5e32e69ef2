"""Figures of a cache's stability: errors without noise, recovery after a change, flicker and drift."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nrc_tracer.imaging.metrics import block_sums

Images = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Error:
    """The error of the image that a cache shows at some moment.

    Attributes:
        blocks: Root mean square relative error of the means of blocks.
        mean: Brightness of the image relative to the reference.
    """

    blocks: float
    mean: float


def compare(images: Images, references: Images) -> Error:
    """Compare two independent images with two independent references so that their noise cancels."""
    x1, x2, r1, r2 = (block_sums(image.astype(np.float64)) for image in (*images, *references))
    r = 0.5 * (r1 + r2)
    square = np.mean((x1 - r1) * (x2 - r2) / (r**2 + 0.01 * r.mean() ** 2))
    return Error(math.sqrt(max(float(square), 0.0)), float((x1 + x2).mean() / (2.0 * r.mean())))


def plain_error(error: Error) -> dict[str, float]:
    """The error as data for JSON."""
    return {"block_error": error.blocks, "image_mean": error.mean}


@dataclass
class Recovery:
    """Errors at several frames after a change.

    Attributes:
        frames: Frames at which the error was measured.
        errors: The errors.
        film: Error of the mean of all frames since the change, including the first ones; it contains their noise.
    """

    frames: list[int] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)
    film: float = math.nan

    def until(self, error: float) -> int | None:
        """The first frame after which the error stays within a bound; None if it never does."""
        above = [i for i, found in enumerate(self.errors) if found.blocks > error]
        first = above[-1] + 1 if above else 0
        return self.frames[first] if first < len(self.frames) else None

    def plain(self) -> dict[str, Any]:
        """The errors as data for JSON."""
        return {
            "frames": self.frames,
            "block_error": [e.blocks for e in self.errors],
            "image_mean": [e.mean for e in self.errors],
            "film_block_error": self.film,
        }


def flicker(learning: np.ndarray, frozen: np.ndarray) -> dict[str, float]:
    """Change from one frame to the next, for each cache and for their difference."""
    level = frozen.mean(axis=0)

    def change(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(np.diff(values, axis=0) / level))))

    found = {
        "change": change(learning),
        "change_frozen": change(frozen),
        "change_by_learning": change(learning - frozen),
    }
    return {**found, "change_ratio": found["change"] / found["change_frozen"]}


def drift(learning: np.ndarray, frozen: np.ndarray, windows: int = 8) -> dict[str, Any]:
    """The mean of the image over windows of frames, relative to that of the frozen cache with the same random numbers."""
    parts = [np.array([p.mean() for p in np.array_split(values, windows)]) for values in (learning, frozen)]
    ratio = parts[0] / parts[1]
    return {"mean_by_window": ratio.tolist(), "largest_drift": float(np.abs(ratio - 1.0).max())}
