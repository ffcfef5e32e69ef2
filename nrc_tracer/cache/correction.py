"""The correction of a cached image: what its residuals say that it lacks, coarse to fine, each detail shrunk by its own noise.

Residuals are noisy, and the noise of their mean over a block of pixels falls with the size of the block. So the image is divided
into blocks of doubling size. The mean over the whole image is corrected in full; each group of four blocks then adds what they
differ from their common mean, times a factor in [0, 1]: the share of the measured energy of these differences that is not noise
(positive-part James-Stein; Efron and Morris 1973). As more samples come in, factors grow towards 1, and the image converges to
the unbiased one.

Two rules keep the correction unbiased on average, however heavy the tails of the residuals are. A group has one factor, and its
differences sum to zero, so that shrinking moves no energy from one group to another: the mean of the correction is the mean of
the residuals. And the factor for one half of the samples is measured on the other half: a large residual does not shrink itself.

The blocks of a single division would show, so the correction is the mean over several divisions that are shifted against each
other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHIFTS_PER_AXIS = 4
"""Number of shifts of the divisions in each direction."""

NEIGHBOURS = 2
"""Groups on each side of a group whose energies are pooled with its own."""

CAUTION = (2.0, 1.75, 1.5, 1.25, 1.0)
"""Factors of the noise in an estimate of signal, from groups of single pixels to larger ones; the last is for all others.

The noise of few pixels is measured on few residuals, which mostly show too little of it."""


@dataclass(frozen=True)
class Correction:
    """A correction.

    Attributes:
        values: To be added to the image, float64 [height, width, 3].
        mean: Its mean over the image, float64 [3].
        mean_error: Standard error of `mean`, float64 [3].
    """

    values: np.ndarray
    mean: np.ndarray
    mean_error: np.ndarray


def estimate_correction(
    sums: np.ndarray, squares: np.ndarray, samples: tuple[int, int], guide: np.ndarray | None = None
) -> Correction:
    """Estimate the correction of an image from the residuals of the two halves of its samples.

    With samples of one half alone there is nothing to measure noise on, and only the mean over the image is corrected.

    Args:
        sums: Sums of the residuals of each half, float64 [2, height, width, 3].
        squares: Sums of their squares, in the same shape.
        samples: Number of samples of each half, at least one in all.
        guide: What the correction is expected to be proportional to within a block, such as the albedo of the first surface,
            above 0, [height, width, 3]; 1 everywhere unless given.
    """
    height, width = sums.shape[1:3]
    weights = np.ones(sums.shape[1:]) if guide is None else np.asarray(guide, np.float64)
    halves = _Halves.of(sums, squares, samples)
    values = np.zeros_like(weights)
    offsets = _offsets(max(height, width))
    for offset in offsets:
        values += _corrected(halves, weights, offset) / len(offsets)
    shares = halves.shares[:, None, None, None]
    mean = (halves.means * shares).sum(0).mean((0, 1))
    variance = (halves.variances * shares**2).sum((0, 1, 2)) / (height * width) ** 2
    return Correction(values, mean, np.sqrt(variance))


@dataclass(frozen=True)
class _Halves:
    """The residuals of both halves.

    Attributes:
        means: Mean residual of each pixel, [2, height, width, 3].
        variances: Variance of that mean, in the same shape.
        shares: Each half's share of the samples, [2].
    """

    means: np.ndarray
    variances: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, sums: np.ndarray, squares: np.ndarray, samples: tuple[int, int]) -> _Halves:
        counts = np.array(samples, np.float64)
        n = np.maximum(counts, 1.0)[:, None, None, None]
        means = sums / n
        # A half with a single sample does not show its spread; the second moment is at least that
        centred = np.where(n > 1.0, means, 0.0)
        variances = np.maximum(squares / n - centred**2, 0.0) / np.maximum(n - 1.0, 1.0)
        return cls(means, variances, counts / counts.sum())


@dataclass(frozen=True)
class _Level:
    """One doubling of the blocks of a division.

    Attributes:
        shape: Number of the smaller blocks in each direction.
        offset: Blocks of the first group, in each direction, that lie beyond the image: 0 or 1.
        details: What the mean of each block differs from that of its group, for each half, [2, rows, 2, columns, 2, 3].
        factors: The factor of each group's details, for each half, [2, rows, columns].
    """

    shape: tuple[int, int]
    offset: tuple[int, int]
    details: np.ndarray
    factors: np.ndarray


def _corrected(halves: _Halves, weights: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """The correction by one division of the image."""
    levels: list[_Level] = []
    residuals, variances, (above, left) = halves.means, halves.variances, offset
    sizes = weights  # the sums of weights in blocks
    while max(sizes.shape[:2]) > 1:
        parity, shape = (above & 1, left & 1), (sizes.shape[0], sizes.shape[1])
        grouped = [_grouped(values, *parity) for values in (sizes, residuals, variances)]
        caution = CAUTION[min(len(levels), len(CAUTION) - 1)]
        details, factors = _shrink(grouped[0], grouped[1], grouped[2], halves.shares, caution)
        levels.append(_Level(shape, parity, details, factors))
        sizes, residuals, variances = (values.sum((-4, -2)) for values in grouped)
        above, left = above >> 1, left >> 1
    shares = halves.shares[:, None, None, None]
    means = (residuals * shares).sum(0) / sizes
    for level in reversed(levels):
        factors = (level.factors[..., None] * shares)[:, :, None, :, None]
        means = _ungrouped(means[:, None, :, None] + (level.details * factors).sum(0), level)
    return means * weights


def _shrink(
    sizes: np.ndarray, residuals: np.ndarray, variances: np.ndarray, shares: np.ndarray, caution: float
) -> tuple[np.ndarray, np.ndarray]:
    """Details of groups of four blocks and their factors, as `_Level` has them.

    Args:
        sizes, residuals, variances: Sums over the pixels of each block of the weights, residuals of each half and variances, in
            groups as `_grouped` returns them.
        shares: Each half's share of the samples, [2].
        caution: Factor of the noise, at least 1.
    """
    group = sizes.sum((-4, -2), keepdims=True)
    inside = np.maximum(sizes, np.finfo(np.float64).tiny)
    details = np.where(sizes > 0.0, residuals / inside - residuals.sum((-4, -2), keepdims=True) / group, 0.0)
    energy = _pooled((sizes * details**2).sum((-4, -2, -1)))
    # The mean of a group is that of its blocks, which takes a part of their noise
    noise = _pooled(((1.0 - sizes / group) * variances / inside).sum((-4, -2, -1)))
    signal = np.maximum(energy - caution * noise, 0.0)
    rest = noise * shares[:, None, None]  # of both halves together, estimated on one
    factors = np.divide(signal, signal + rest, out=np.zeros_like(signal), where=signal > 0.0)
    return details, factors[::-1] if shares.all() else np.zeros_like(factors)


def _grouped(values: np.ndarray, above: int, left: int) -> np.ndarray:
    """Blocks [..., height, width, 3] in groups of four, [..., rows, 2, columns, 2, 3], with zeros beyond the image."""
    *front, height, width, channels = values.shape
    padding = [(above, (height + above) & 1), (left, (width + left) & 1)]
    padded = np.pad(values, [*[(0, 0)] * len(front), *padding, (0, 0)])
    return padded.reshape(*front, padded.shape[-3] // 2, 2, padded.shape[-2] // 2, 2, channels)


def _ungrouped(values: np.ndarray, level: _Level) -> np.ndarray:
    """The blocks [height, width, channels] of groups [rows, 2, columns, 2, channels], without those beyond the image."""
    rows, _, columns, _, channels = values.shape
    (height, width), (above, left) = level.shape, level.offset
    return values.reshape(2 * rows, 2 * columns, channels)[above : above + height, left : left + width]


def _pooled(values: np.ndarray) -> np.ndarray:
    """Sums over the neighbourhood of each group, [..., rows, columns]."""
    rows, columns = values.shape[-2:]
    reach = (NEIGHBOURS, NEIGHBOURS)
    padded = np.pad(values, [*[(0, 0)] * (values.ndim - 2), reach, reach])
    places = range(2 * NEIGHBOURS + 1)
    by_row = np.add.reduce([padded[..., i : i + rows, :] for i in places])
    return np.add.reduce([by_row[..., j : j + columns] for j in places])


def _offsets(extent: int) -> list[tuple[int, int]]:
    """The offsets of the divisions of an image of this extent [pixels]: a grid that is even for blocks of every size.

    Multiples of 0101...01 in binary, a third of a power of two, leave evenly spread remainders for all smaller powers of two.
    """
    bits = max(extent - 1, 1).bit_length() + 1
    third = int("01" * ((bits + 1) // 2), 2)
    steps = [(i * third) % (1 << bits) for i in range(SHIFTS_PER_AXIS)]
    return [(above, left) for above in steps for left in steps]
