"""Error metrics against values worked out by hand."""

import numpy as np
import pytest

from nrc_tracer.imaging import mse, psnr, rel_mse


def test_hand_computed_values():
    reference = np.full((2, 2, 3), 2.0)
    image = reference + np.array([0.2, -0.2, 0.2])
    assert mse(image, reference) == pytest.approx(0.04)
    assert rel_mse(image, reference) == pytest.approx(0.04 / (4 + 0.04))
    assert psnr(image, reference, peak=2.0) == pytest.approx(20.0)


def test_relative_error_ignores_exposure():
    rng = np.random.default_rng(0)
    reference, image = rng.random((2, 8, 8, 3))
    assert rel_mse(image * 64, reference * 64) == pytest.approx(rel_mse(image, reference))


def test_equal_and_black_images():
    black = np.zeros((2, 2, 3))
    assert psnr(black, black) == float("inf")
    assert rel_mse(black, black) == 0.0
    assert rel_mse(black + 1, black) == float("inf")


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="cannot be compared"):
        mse(np.zeros((2, 2, 3)), np.zeros((2, 2, 1)))
