"""The correction of a cached image, on residuals whose mean is known."""

import numpy as np
import pytest
import torch

from nrc_tracer.cache.correction import estimate_correction, offsets
from nrc_tracer.cache.residuals import Residuals, half_counts
from nrc_tracer.device.torch_launcher import TorchLauncher


@pytest.fixture(scope="module")
def estimate():
    """Estimates the correction from residuals, float64 [samples, height, width, 3], whose halves are every other sample."""
    launcher = TorchLauncher(torch.device("cpu"), threads=1)

    def estimate(residuals, guide=None, dropped=None):
        halves = residuals[::2], residuals[1::2]
        height, width = residuals.shape[1:3]
        sums, squares = (
            torch.from_numpy(np.stack([x.sum(0) for x in parts]).reshape(2, -1, 3))
            for parts in (halves, [half**2 for half in halves])
        )
        weights = None if guide is None else torch.from_numpy(guide.reshape(-1, 3).copy())
        lost = None if dropped is None else torch.from_numpy(dropped.reshape(-1))
        samples = (len(halves[0]), len(halves[1]))
        return estimate_correction(
            Residuals(sums, squares), samples, launcher, height=height, width=width, guide=weights, dropped=lost
        )

    return estimate


def heavy_tailed(rng, mean, samples, probability=0.25):
    """Residuals with this mean: mostly 0, else log-normal with a kurtosis of many thousands."""
    shape = (samples, *mean.shape)
    spread = np.exp(1.5 * rng.standard_normal(shape) - 1.125)
    return mean * spread * (rng.random(shape) < probability) / probability


def step_edge(height, width):
    """Residuals of 1 on the left and -0.5 on the right, different in each channel."""
    mean = np.where(np.arange(width) < width // 2, 1.0, -0.5)
    return np.broadcast_to(mean[None, :, None] * [1.0, 0.5, 2.0], (height, width, 3))


def test_halves_count_the_ones_of_an_index():
    """Among the first n samples, those whose index has an odd number of ones are the second half."""
    for samples in range(300):
        second = sum(index.bit_count() & 1 for index in range(samples))
        assert half_counts(samples) == (samples - second, second)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (13, 9), (32, 32)])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 7])
def test_the_mean_of_the_correction_is_that_of_the_residuals(estimate, height, width, guided, samples):
    """Shrinking moves no energy, whatever the size of the image, its guide and the number of samples."""
    rng = np.random.default_rng(1)
    residuals = rng.standard_cauchy((samples, height, width, 3))
    guide = 1e-3 + rng.random((height, width, 3)) if guided else None
    found = estimate(residuals, guide)
    scale = np.abs(residuals).mean()
    np.testing.assert_allclose(found.values.mean((0, 1)), residuals.mean((0, 1, 2)), rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(found.mean, residuals.mean((0, 1, 2)), rtol=0, atol=1e-12 * scale)


def test_heavy_tails_do_not_bias_the_mean(estimate):
    """The mean over many images is the known one within its standard error, which the correction also estimates."""
    rng, truth = np.random.default_rng(2), step_edge(8, 8)
    runs = [estimate(heavy_tailed(rng, truth, 8)) for _ in range(100)]
    means = np.array([run.mean for run in runs])
    error = means.std(0) / np.sqrt(len(runs))
    assert np.all(np.abs(means.mean(0) - truth.mean((0, 1))) < 4.5 * error)
    estimated = np.sqrt(np.mean([run.mean_error**2 for run in runs], axis=0))
    assert np.all((estimated > 0.7 * means.std(0)) & (estimated < 1.4 * means.std(0)))


def test_a_clear_edge_keeps_its_contrast(estimate):
    """Where the detail is clear, an edge keeps its contrast on average, though the residuals are heavy-tailed."""
    rng, truth = np.random.default_rng(3), step_edge(16, 16)
    runs = [estimate(heavy_tailed(rng, truth, 512, 0.5)).values for _ in range(12)]
    left, right = (np.array([run[:, columns].mean((0, 1)) for run in runs]) for columns in (slice(0, 8), slice(8, 16)))
    contrast = (left - right).mean(0) / (truth[:, :8] - truth[:, 8:]).mean((0, 1))
    assert np.all((contrast > 0.9) & (contrast < 1.02)), contrast


@pytest.mark.parametrize("samples", [2, 16, 256])
def test_shrinking_pays_at_every_number_of_samples(estimate, samples):
    """The error is well below that of the residuals' mean, and below that of no correction or hardly above."""
    rng, truth = np.random.default_rng(4), step_edge(32, 48)
    residuals = 3.0 * rng.standard_normal((samples, *truth.shape)) + truth
    found = estimate(residuals).values
    error = np.mean((found - truth) ** 2)
    assert error < 0.25 * np.mean((residuals.mean(0) - truth) ** 2)
    assert error < 1.02 * np.mean(truth**2)


def test_it_converges_to_the_mean_residual(estimate):
    """Fine details survive once their noise is small."""
    rng = np.random.default_rng(5)
    truth = rng.standard_normal((24, 24, 3))
    residuals = truth + 0.05 * rng.standard_normal((64, *truth.shape))
    found = estimate(residuals).values
    assert np.abs(found - residuals.mean(0)).max() < 1e-3


def test_a_guide_keeps_textures(estimate):
    """Residuals that are proportional to the guide are found again, with its contrast from pixel to pixel."""
    rng = np.random.default_rng(6)
    guide = np.where(rng.random((40, 40, 1)) < 0.5, 0.9, 0.1) * np.ones(3)
    truth = guide * 0.5
    residuals = truth + 0.5 * rng.standard_normal((32, *truth.shape))
    plain, guided = (estimate(residuals, use).values for use in (None, guide))
    assert np.mean((guided - truth) ** 2) < 0.3 * np.mean((plain - truth) ** 2)


def test_factors_come_from_the_other_half(estimate):
    """A detail that only one half of the samples shows is not kept, however clear it is there."""
    rng = np.random.default_rng(8)
    residuals = 0.1 * rng.standard_normal((32, 16, 16, 3))
    residuals[::2] += step_edge(16, 16) - step_edge(16, 16).mean((0, 1))
    residuals[1::2] *= 10.0
    found = estimate(residuals).values
    edge = found[:, :8].mean() - found[:, 8:].mean()
    assert abs(edge) < 0.1 * (step_edge(16, 16)[:, :8].mean() - step_edge(16, 16)[:, 8:].mean())


def test_dropped_samples_count_for_nothing(estimate):
    """A pixel of which half of the samples were dropped has the mean of the others, as the film has."""
    rng = np.random.default_rng(9)
    residuals = 1.0 + 0.01 * rng.standard_normal((64, 12, 12, 3))
    residuals[:32, 4, 5] = 0.0
    dropped = np.zeros((12, 12), np.int32)
    dropped[4, 5] = 32
    np.testing.assert_allclose(estimate(residuals, dropped=dropped).values, 1.0, atol=0.02)


@pytest.mark.parametrize("extent", [5, 64, 100, 1920])
def test_divisions_are_shifted_evenly_at_every_size(extent):
    """The gaps between the shifts of the block grid differ by at most one pixel, at every block size from 4 pixels on."""
    steps = np.unique([above for above, _ in offsets(extent)])
    size = 4
    while size < extent:
        places = np.sort(steps % size)
        gaps = np.diff(np.append(places, places[0] + size))
        assert np.ptp(gaps) <= 1, (size, places)
        size *= 2


def test_a_single_spike_leaves_no_blocks(estimate):
    """One huge residual adds its share of the image's mean everywhere, and nothing else."""
    residuals = np.zeros((16, 64, 64, 3))
    residuals[3, 20, 30] = 1000.0
    found = estimate(residuals).values
    mean = 1000.0 / (16 * 64 * 64)
    np.testing.assert_allclose(found, mean, rtol=1e-9)
