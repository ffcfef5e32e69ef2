"""How noisy an image still is, and at which numbers of samples a render asks."""

from __future__ import annotations

import numpy as np

FIRST_CHECK = 32
"""Variances of fewer samples say too little."""


def relative_error(mean: np.ndarray, variance: np.ndarray) -> float:
    """Estimate the root of `rel_mse` between an image and the image without noise.

    The mean over pixels and channels of variance / (mean^2 + 0.01 M^2), M the mean of the image, and of that the root: the
    measure of `nrc_tracer.imaging.rel_mse` with the expected squared error in place of a known one.

    Args:
        mean: The image, shape [height, width, 3], float64.
        variance: Variance of each of its values, the same shape.

    Returns:
        The error, 0.05 for 5 %; 0 for an image that is black.
    """
    floor = 0.01 * np.mean(mean) ** 2
    if floor == 0.0:
        return 0.0
    return float(np.sqrt(np.mean(variance / (np.square(mean) + floor))))


def is_check(samples: int) -> bool:
    """Whether a render that ends by its noise looks at it after so many samples a pixel.

    The numbers are fixed, so that where it ends depends on the image alone: 32, 36, ... 64, 72, ... 128, 144, ...
    """
    return samples >= FIRST_CHECK and samples % _step(samples) == 0


def next_check(samples: int) -> int:
    """The first number of samples above `samples` for which `is_check`."""
    if samples < FIRST_CHECK:
        return FIRST_CHECK
    step = _step(samples)
    return (samples // step + 1) * step


def _step(samples: int) -> int:
    """An eighth of the power of two at or below `samples`."""
    return 1 << (samples.bit_length() - 4)
