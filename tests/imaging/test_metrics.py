"""Error metrics compared with values computed by hand, synthetic noise of known size, and published packages."""

import sys

import numpy as np
import pytest

from nrc_tracer.errors import NrcError
from nrc_tracer.imaging import (
    bias_and_variance,
    block_error,
    check_metrics,
    decibels,
    flip,
    mse,
    psnr,
    rel_mse,
    relative_errors,
    ssim,
)

TRUTH = 1.0 + 0.5 * np.sin(np.arange(40 * 56 * 3) * 0.01).reshape(40, 56, 3)
DENOMINATOR = TRUTH**2 + 0.01 * TRUTH.mean() ** 2


def _noisy(rng, deviation, bias=0.0):
    """The true image times a factor, with normal noise proportional to its value."""
    return TRUTH * (1.0 + bias + deviation * rng.standard_normal(TRUTH.shape))


def _expected(relative_square):
    """The relMSE of an image whose squared error is proportional to the square of the true image."""
    return float(np.mean(relative_square * TRUTH**2 / DENOMINATOR))


def test_hand_computed_values():
    reference = np.full((2, 2, 3), 2.0)
    image = reference + np.array([0.2, -0.2, 0.2])
    assert mse(image, reference) == pytest.approx(0.04)
    assert rel_mse(image, reference) == pytest.approx(0.04 / (4 + 0.04))
    assert psnr(image, reference, peak=2.0) == pytest.approx(20.0)
    assert relative_errors(image, reference)[0, 0] == pytest.approx(np.array([0.2, -0.2, 0.2]) / np.sqrt(4.04))


def test_relative_error_ignores_exposure():
    rng = np.random.default_rng(0)
    reference, image = rng.random((2, 8, 8, 3))
    assert rel_mse(image * 64, reference * 64) == pytest.approx(rel_mse(image, reference))


def test_equal_and_black_images():
    black = np.zeros((2, 2, 3))
    assert psnr(black, black) == decibels(0.0) == float("inf")
    assert rel_mse(black, black) == 0.0
    assert rel_mse(black + 1, black) == float("inf")
    assert flip(black, black) == 0.0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="cannot be compared"):
        mse(np.zeros((2, 2, 3)), np.zeros((2, 2, 1)))
    with pytest.raises(ValueError, match="cannot be compared"):
        rel_mse(TRUTH, TRUTH, TRUTH[:2])
    with pytest.raises(ValueError, match="two images"):
        bias_and_variance([TRUTH], TRUTH)


def test_noise_of_two_references_cancels_and_that_of_one_does_not():
    rng = np.random.default_rng(1)
    trials = 60
    both, one = [], []
    for _ in range(trials):
        image, first, second = _noisy(rng, 0.1), _noisy(rng, 0.1), _noisy(rng, 0.1)
        both.append(rel_mse(image, first, second))
        one.append(rel_mse(image, first))
    error = 4.0 * np.std(both) / np.sqrt(trials)
    # The squares of noisy references exceed the true ones by the variance, here 0.5 % of 1 %
    assert np.mean(both) == pytest.approx(_expected(0.01), abs=error + 0.02 * _expected(0.01))
    assert np.mean(one) > 1.8 * _expected(0.01)


def test_trimming_only_leaves_out_the_worst_pixels():
    image = TRUTH.copy()
    image[3, 4] += 1000.0
    assert rel_mse(image, TRUTH) > 100.0
    assert rel_mse(image, TRUTH, trim=0.0004) == 0.0  # one of 2240 pixels
    image[7, 8] += 1000.0
    assert rel_mse(image, TRUTH, trim=0.0004) > 100.0
    assert rel_mse(image, TRUTH, trim=0.0008) == 0.0


def test_block_error_measures_brightness_and_not_noise():
    flat = np.full((40, 56, 3), 2.0)
    assert block_error(1.1 * flat, flat) == pytest.approx(0.1 * 2.0 / np.sqrt(4.04))
    rng = np.random.default_rng(2)
    noise = 0.5 * rng.standard_normal(flat.shape)
    # The squared error of each block's mean, 16 x 16 pixels or fewer at the edges, is weighted by its number of pixels
    blocks = [(h, w) for h in (16, 16, 8) for w in (16, 16, 16, 8)]
    expected = 0.5 * np.sqrt(len(blocks) / sum(h * w for h, w in blocks)) / np.sqrt(4.04)
    assert block_error(flat + noise, flat) == pytest.approx(expected, rel=0.35)
    checkers = flat + np.where(np.indices((40, 56)).sum(axis=0) % 2, 0.5, -0.5)[..., None]
    assert block_error(checkers, flat) == pytest.approx(0.0, abs=1e-12)
    assert block_error(flat, flat + noise, flat - noise) == 0.0  # the estimated mean square is negative


def test_bias_and_variance_add_up_to_the_error():
    rng = np.random.default_rng(3)
    images = [_noisy(rng, 0.3, 0.1) for _ in range(5)]
    first, second = _noisy(rng, 0.05), _noisy(rng, 0.05)
    parts = bias_and_variance(images, first, second)
    mean = np.mean([rel_mse(image, first, second) for image in images])
    assert parts.squared_bias + parts.variance == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("bias", [0.0, 0.08])
@pytest.mark.parametrize("count", [2, 4])
def test_bias_is_found_within_its_error(bias, count):
    rng = np.random.default_rng(4)
    trials, found, errors, variances = 60, [], [], []
    for _ in range(trials):
        images = [_noisy(rng, 0.3, bias) for _ in range(count)]
        parts = bias_and_variance(images, _noisy(rng, 0.02), _noisy(rng, 0.02))
        found.append(parts.squared_bias)
        errors.append(parts.squared_bias_error)
        variances.append(parts.variance)
    spread = np.std(found)
    assert np.mean(found) == pytest.approx(_expected(bias**2), abs=4.0 * spread / np.sqrt(trials))
    assert np.mean(variances) == pytest.approx(_expected(0.09), rel=0.01)
    # The stated error is at least the estimate's own; it is larger for a bias that varies over the image
    assert 0.75 * spread < np.mean(errors) < 2.5 * spread
    assert np.mean(np.abs(np.array(found) - _expected(bias**2)) < 3.0 * np.array(errors)) > 0.9


def test_errors_shared_by_a_whole_image_widen_the_error_of_the_bias():
    """A cache has errors that a whole image shares: leaving out images reveals them, unlike the spread between blocks."""
    rng = np.random.default_rng(5)
    trials, found, errors = 200, [], []
    for _ in range(trials):
        images = [_noisy(rng, 0.01, 0.2 * rng.standard_normal()) for _ in range(4)]
        parts = bias_and_variance(images, TRUTH)
        found.append(parts.squared_bias)
        errors.append(parts.squared_bias_error)
    assert np.mean(found) == pytest.approx(0.0, abs=4.0 * np.std(found) / np.sqrt(trials))
    assert np.sqrt(np.mean(np.square(errors))) > 0.75 * np.std(found)


def test_psnr_against_its_formula():
    """The value is that of the formula."""
    assert decibels(1e-4) == pytest.approx(40.0)
    assert decibels(1e-4, peak=10.0) == pytest.approx(60.0)


def test_psnr_agrees_with_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    rng = np.random.default_rng(6)
    reference, image = rng.random((2, 16, 16, 3))
    assert psnr(image, reference) == pytest.approx(peak_signal_noise_ratio(reference, image, data_range=1.0))


def test_ssim_against_its_formula():
    """For constant images only the luminance term remains: (2 m n + c) / (m^2 + n^2 + c) with c = 0.01^2."""
    image, reference = np.full((16, 16, 3), 0.5), np.full((16, 16, 3), 0.25)
    assert ssim(image, reference) == pytest.approx((2 * 0.125 + 1e-4) / (0.25 + 0.0625 + 1e-4))
    assert ssim(reference, reference) == pytest.approx(1.0)
    assert np.isnan(ssim(image[:5], reference[:5]))


def test_flip_grows_with_the_error():
    rng = np.random.default_rng(7)
    noise = rng.standard_normal(TRUTH.shape)
    values = [flip(TRUTH * (1.0 + size * noise), TRUTH) for size in (0.0, 0.05, 0.3)]
    assert values[0] == 0.0
    assert 0.0 < values[1] < values[2] < 1.0


@pytest.mark.parametrize(
    ("package", "module", "call"),
    [
        ("scikit-image", "skimage.metrics", lambda: ssim(TRUTH, TRUTH)),
        ("flip-evaluator", "flip_evaluator", lambda: flip(TRUTH, TRUTH)),
        ("flip-evaluator", "flip_evaluator", check_metrics),
        ("scikit-image", "skimage.metrics", check_metrics),
    ],
)
def test_missing_packages_are_named(monkeypatch, package, module, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NrcError, match=rf"^{package} cannot be loaded .*pip install 'nrc-tracer\[report\]'"):
        call()
