"""The noise of an image, and the numbers of samples at which a render estimates it."""

from __future__ import annotations

import numpy as np

FIRST_CHECK = 32
"""Smallest number of samples per pixel whose variance is estimated."""


def relative_error(mean: np.ndarray, variance: np.ndarray) -> float:
    """Estimate the root of `rel_mse` between an image and the image without noise.

    The root of the mean over pixels and channels of variance / (mean^2 + 0.01 M^2), M being the mean of the image: as
    `nrc_tracer.imaging.rel_mse`, with the expected squared error in place of the error.

    Args:
        mean: The image, shape [height, width, 3], float64.
        variance: Variance of each of its values, in the same shape.

    Returns:
        The error, 0.05 for 5 %; 0 for a black image.
    """
    floor = 0.01 * np.mean(mean) ** 2
    if floor == 0.0:
        return 0.0
    return float(np.sqrt(np.mean(variance / (np.square(mean) + floor))))


def is_check(samples: int) -> bool:
    """Whether a render that ends at a noise level estimates it at this number of samples per pixel.

    The numbers are fixed, so that the end depends on the image alone: 32, 36, ... 64, 72, ... 128, 144, ...
    """
    return samples >= FIRST_CHECK and samples % _step(samples) == 0


def next_check(samples: int) -> int:
    """The next number of samples per pixel above `samples` at which the noise is estimated."""
    if samples < FIRST_CHECK:
        return FIRST_CHECK
    step = _step(samples)
    return (samples // step + 1) * step


def _step(samples: int) -> int:
    """An eighth of the largest power of two that is at most `samples`."""
    return 1 << (samples.bit_length() - 4)
