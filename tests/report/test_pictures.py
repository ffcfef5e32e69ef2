"""Error maps use the colours of their scale, and close-ups are taken where images differ most from the reference."""

import numpy as np
import pytest
from matplotlib import colormaps

from nrc_tracer.report.pictures import BIAS_RANGE, ERROR_RANGE, bias_map, choose_crops, error_map

FLAT = np.full((64, 96, 3), 2.0)


def test_colours_of_the_error_map():
    image = FLAT.copy()
    size = np.sqrt(ERROR_RANGE[0] * ERROR_RANGE[1])
    image[:, 48:] *= 1.0 + size * np.sqrt(4.04) / 2.0  # the middle of the logarithmic scale
    image[0, 0] = 1e6
    colors = error_map(image, FLAT)
    assert colors[5, 5] == pytest.approx(colormaps["inferno"](0.0)[:3])
    assert colors[5, 80] == pytest.approx(colormaps["inferno"](0.5)[:3], abs=0.02)
    assert colors[0, 0] == pytest.approx(colormaps["inferno"](1.0)[:3])


def test_colours_of_the_bias_map():
    """Red means too bright and blue too dark, for the mean of the images."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(FLAT.shape)
    noise[:, :32] -= BIAS_RANGE
    noise[:, 64:] += BIAS_RANGE
    assert bias_map([FLAT + noise, FLAT - noise], FLAT) == pytest.approx(
        np.broadcast_to(colormaps["RdBu_r"](0.5)[:3], FLAT.shape), abs=0.01
    )
    colors = bias_map([FLAT + noise], FLAT)
    assert colors[:, :28, 2].mean() > 0.6 > colors[:, :28, 0].mean()
    assert colors[:, 68:, 0].mean() > 0.6 > colors[:, 68:, 2].mean()


def test_crops_show_the_largest_errors_and_do_not_overlap():
    left, right = FLAT.copy(), FLAT.copy()
    left[20:30, 10:20] *= 1.5
    right[40:50, 70:80] *= 0.5
    crops = choose_crops(FLAT, [left, right, left], ["a", "b", "c"])
    assert [crop.name for crop in crops] == ["largest error of a", "largest error of b", "largest error of c"]
    for crop, (x, y) in zip(crops, [(10, 20), (70, 40)], strict=False):
        assert crop.x <= x < x + 10 <= crop.x + crop.side
        assert crop.y <= y < y + 10 <= crop.y + crop.side
    for i, a in enumerate(crops):
        assert a.x + a.side <= 96
        assert a.y + a.side <= 64
        assert all(abs(a.x - b.x) >= a.side or abs(a.y - b.y) >= a.side for b in crops[:i])
    assert choose_crops(FLAT[:6, :6], [FLAT[:6, :6]], ["a"]) == []
