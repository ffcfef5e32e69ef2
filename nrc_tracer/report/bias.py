"""The bias of a study's images: how much too bright they are on average, by channel and by region, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nrc_tracer.imaging import block_sums
from nrc_tracer.report.references import Reference

REGIONS = 10
"""Number of regions along the longer side of an image."""

STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
"""The 97.5 % quantile of Student's t distribution with 1 to 9 degrees of freedom."""

Values = tuple[tuple[float, ...], ...]
"""Numbers of all regions, row by row."""


@dataclass(frozen=True)
class Bias:
    """The relative error of the mean of all seeds' images, above 0 where it is too bright, and standard errors.

    An error is divided by sqrt(R^2 + 0.01 mean(R)^2) with the reference's mean R over the same pixels, as black regions would
    count without bound otherwise. The standard errors come from the spread of the seeds and, where there are two references, from
    the difference of these. With few seeds they are rough themselves.

    Attributes:
        channels: Error of the mean of the whole image, for red, green and blue.
        channel_errors: Standard errors of `channels`.
        regions: Error of the mean of each region over all channels, by rows and columns.
        region_errors: Standard errors of `regions`, in the same shape.
        side: Side of the square regions [pixels]; those at the right and lower edge may be smaller.
        seeds: Number of images that the standard errors come from.
    """

    channels: tuple[float, float, float]
    channel_errors: tuple[float, float, float]
    regions: Values
    region_errors: Values
    side: int
    seeds: int


def significant_errors(seeds: int) -> float:
    """Return the number of standard errors, estimated from at least 2 seeds, that chance exceeds in 5 % of cases."""
    freedom = seeds - 1
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = 1.95996  # the expansion in 1 / freedom around the normal distribution's quantile
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def measure_bias(images: Sequence[np.ndarray], reference: Reference) -> Bias:
    """Measure the bias of at least two images of the same scene with different seeds, [height, width, 3]."""
    height, width = reference.first.shape[:2]
    side = max(1, math.ceil(max(height, width) / REGIONS))
    channels, channel_errors = _relative_bias(images, reference, max(height, width))
    regions, region_errors = _relative_bias(images, reference, side, gray=True)
    red, green, blue = (float(x) for x in channels[0, 0])
    errors = tuple(float(x) for x in channel_errors[0, 0])
    channel_triple = (errors[0], errors[1], errors[2])
    return Bias((red, green, blue), channel_triple, _rows(regions), _rows(region_errors), side, len(images))


def _relative_bias(
    images: Sequence[np.ndarray], reference: Reference, side: int, *, gray: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return relative biases of means over blocks of pixels and their standard errors, [rows, columns, channels] each."""

    def means(values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, np.float64)
        return block_sums(values.mean(axis=2, keepdims=True) if gray else values, side) / pixels

    pixels = block_sums(np.ones((*reference.first.shape[:2], 1)), side)
    level = means(reference.mean)
    scale = np.sqrt(np.square(level) + 0.01 * np.mean(level) ** 2)
    blocks = np.stack([means(image) for image in images])
    squared_error = blocks.var(axis=0, ddof=1) / len(images)
    if reference.second is not None:
        # The mean of two references has a quarter of the squared difference as its variance, in each pixel
        difference = np.asarray(reference.first, np.float64) - reference.second
        noise = np.square(difference.mean(axis=2, keepdims=True) if gray else difference) / 4.0
        squared_error = squared_error + block_sums(noise, side) / np.square(pixels)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (blocks.mean(axis=0) - level) / scale, np.sqrt(squared_error) / scale
    return np.nan_to_num(found[0], nan=0.0), np.nan_to_num(found[1], nan=0.0)


def _rows(values: np.ndarray) -> Values:
    return tuple(tuple(float(value) for value in row) for row in values[..., 0])
