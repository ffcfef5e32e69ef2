"""Random numbers: uniform, independent between pixels and dimensions, and well distributed within a pixel."""

import numpy as np
import pytest
from scipy.stats import qmc

from nrc_tracer.tracer.vocabulary import SamplerKind
from tests.tracer.chi_square import assert_counts
from tests.tracer.kernels import random_pairs

INDEPENDENT, SOBOL = int(SamplerKind.INDEPENDENT), int(SamplerKind.SOBOL)
KINDS = [INDEPENDENT, SOBOL]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_do_not_depend_on_the_block(kind):
    """Equal arguments give equal numbers, whatever launch they are part of."""
    pixel, index, dimension = np.arange(20)[:, None, None], np.arange(33)[None, :, None], np.arange(9)
    whole = random_pairs(kind, 5, pixel, index, dimension)
    np.testing.assert_array_equal(whole, random_pairs(kind, 5, pixel, index, dimension, block=97))
    np.testing.assert_array_equal(whole[3, 4, 5], random_pairs(kind, 5, np.array([3]), np.array([4]), np.array([5]))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_lie_in_the_half_open_interval(kind):
    """A million numbers lie in [0, 1) and reach within 1e-5 of both ends."""
    x = random_pairs(kind, 1, np.arange(1000)[:, None], np.arange(500)[None, :], 3)
    assert x.min() >= 0.0
    assert x.max() < 1.0
    # The probability that none of 10^6 numbers comes so close to an end is exp(-10)
    assert x.min() < 1e-5
    assert x.max() > 1.0 - 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimension", [0, 1, 7])
def test_a_pair_is_uniform_over_pixels(kind, dimension):
    """Sample 0 of many pixels fills the unit square evenly."""
    x = random_pairs(kind, 0, np.arange(200_000), 0, dimension)
    counts, *_ = np.histogram2d(x[:, 0], x[:, 1], bins=32, range=[[0, 1], [0, 1]])
    assert_counts(counts, np.full(counts.shape, 200_000 / counts.size))


def test_independent_samples_of_a_pixel_are_uniform():
    """Many samples of one pixel fill the unit square as random points do, neither less nor more evenly."""
    x = random_pairs(INDEPENDENT, 0, 17, np.arange(200_000), 2)
    counts, *_ = np.histogram2d(x[:, 0], x[:, 1], bins=32, range=[[0, 1], [0, 1]])
    expected = np.full(counts.shape, 200_000 / counts.size)
    assert_counts(counts, expected)
    # Points that are too even would not be independent: chi-square has mean 1023 and standard deviation sqrt(2 * 1023)
    assert ((counts - expected) ** 2 / expected).sum() > 1023 - 4 * np.sqrt(2 * 1023)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_dimensions_and_seeds_are_uncorrelated(kind):
    """Numbers of neighbouring pixels, dimensions and seeds, and the two of a pair, have correlations within 4.5 sigma."""
    count = 40_000
    pixels = np.arange(count)
    a = random_pairs(kind, 3, pixels[:, None], 5, np.arange(12)).reshape(count, 24)
    others = {
        "the same sample": a,
        "the next pixel": random_pairs(kind, 3, pixels[:, None] + 1, 5, np.arange(12)).reshape(count, 24),
        "the pixel below": random_pairs(kind, 3, pixels[:, None] + 512, 5, np.arange(12)).reshape(count, 24),
        "the next seed": random_pairs(kind, 4, pixels[:, None], 5, np.arange(12)).reshape(count, 24),
    }
    if kind == INDEPENDENT:
        others["the next sample"] = random_pairs(kind, 3, pixels[:, None], 6, np.arange(12)).reshape(count, 24)
    for name, b in others.items():
        correlation = np.corrcoef(a, b, rowvar=False)[:24, 24:]
        if b is a:
            correlation = correlation[~np.eye(24, dtype=bool)]
        # 4.5 sigma: one of about 2800 coefficients lies outside with a probability of 2 %
        assert np.abs(correlation).max() < 4.5 / np.sqrt(count), name


def test_sobol_samples_of_one_pixel_are_uncorrelated_between_dimensions():
    """The 4096 samples of a pixel show no correlation between any two of 32 dimensions, in any of 20 pixels."""
    x = random_pairs(SOBOL, 11, np.arange(20)[:, None, None], np.arange(4096)[None, :, None], np.arange(16))
    worst = 0.0
    for pixel in x.reshape(20, 4096, 32):
        correlation = np.corrcoef(pixel, rowvar=False)
        worst = max(worst, np.abs(correlation[~np.eye(32, dtype=bool)]).max())
    # The largest of 20 * 496 normal variables exceeds 4.9 sigma with a probability of 1 %
    assert worst < 4.9 / np.sqrt(4096)


@pytest.mark.parametrize("m", [4, 6, 8, 10])
def test_sobol_pairs_are_nets(m):
    """Any aligned block of 2^m samples has one point in each elementary interval of area 2^-m: a (0, 2)-sequence."""
    n = 1 << m
    blocks = 3
    x = random_pairs(
        SOBOL, 2, np.arange(8)[:, None, None], np.arange(blocks * n)[None, None, :], np.arange(4)[None, :, None]
    )
    x = x.reshape(8 * 4 * blocks, n, 2).astype(np.float64)
    for split in range(m + 1):
        cell = (np.floor(x[..., 0] * 2**split) * 2 ** (m - split) + np.floor(x[..., 1] * 2 ** (m - split))).astype(int)
        np.testing.assert_array_equal(np.sort(cell, axis=1), np.broadcast_to(np.arange(n), cell.shape))


def test_sobol_points_are_scrambled_sobol_points():
    """Owen scrambling preserves which points share leading bits, as in the first two dimensions of scipy's Sobol sequence.

    Within an aligned block the shuffled order is undone by matching first coordinates: points whose x share k leading bits are
    the images of Sobol points that do, so the number of pairs with (j, k) shared leading bits in (x, y) is the same.
    """
    n = 256
    points = qmc.Sobol(2, scramble=False).random(n)
    ours = random_pairs(SOBOL, 9, 123, np.arange(n), 1)

    def shared(x: np.ndarray) -> np.ndarray:
        bits = (x.astype(np.float64) * 2**24).astype(np.int64)
        different = bits[:, None] ^ bits[None, :]
        return 24 - np.ceil(np.log2(different + 1.0)).astype(int)

    def pairs(p: np.ndarray) -> np.ndarray:
        return np.histogram2d(shared(p[:, 0]).ravel(), shared(p[:, 1]).ravel(), bins=25, range=[[0, 25], [0, 25]])[0]

    # Coarse digits are fixed by Sobol's matrices; below 2^-8 an unscrambled point has zeros, and a scrambled one has random
    # digits
    np.testing.assert_array_equal(pairs(ours)[:8, :8], pairs(points)[:8, :8])


def test_sobol_scrambling_differs_between_pixels_and_dimensions():
    """No two of 4000 pixels, and no two of 8 dimensions, have the same first points."""
    x = random_pairs(SOBOL, 0, np.arange(4000)[:, None, None], np.arange(4)[None, None, :], np.arange(8)[None, :, None])
    assert len(np.unique(x.reshape(32_000, -1), axis=0)) == 32_000


def test_sobol_integrates_better_than_independent():
    """The variance of a smooth function's mean over 256 samples is at least 20 times lower with Sobol samples."""
    variances = []
    for kind in KINDS:
        x = random_pairs(kind, 0, np.arange(500)[:, None], np.arange(256)[None, :], 3).astype(np.float64)
        variances.append(np.exp(x[..., 0] * x[..., 1]).mean(axis=1).var())
    assert variances[SOBOL] * 20.0 < variances[INDEPENDENT]


def test_large_indices_and_pixels():
    """The last possible sample index and pixel are as good as any: a block of 256 samples there is a net."""
    index = np.arange(2**31 - 256, 2**31)
    x = random_pairs(SOBOL, 0, 2**31 - 1, index, 1000).astype(np.float64)
    cell = np.floor(x[:, 0] * 16) * 16 + np.floor(x[:, 1] * 16)
    np.testing.assert_array_equal(np.sort(cell), np.arange(256))
