"""The bounds of the cache's benchmark, for images whose bias and noise are known in closed form."""

import numpy as np
import pytest

from benchmarks.cache_bounds import Traced, detail_noise, details, judge, oracle

SHAPE = (64, 96, 3)
LEVEL = 2.0**2 * 1.01
"""Squared level of an image of 2, with its floor."""


def traced(bias: np.ndarray, *, residual: float) -> Traced:
    """An image of 2 with variances of 8, 1 and 2, whose cache lacks `bias`."""
    whole, shared, cached = (np.full(SHAPE, value) for value in (8.0, 1.0, 2.0))
    return Traced(np.full(SHAPE, 2.0), whole, shared, cached, np.full(SHAPE, residual), bias, bias)


def test_details_add_up_to_the_image_and_share_its_variance():
    rng = np.random.default_rng(3)
    image = rng.standard_normal(SHAPE)
    levels = [details(image, 2**k) for k in range(6)]
    np.testing.assert_allclose(sum(levels), image, atol=1e-12)
    # Different levels are orthogonal, so their squares add up, and each has the noise that is stated
    assert sum(np.square(level).mean() for level in levels) == pytest.approx(np.square(image).mean())
    for k, level in enumerate(levels[:3]):
        assert np.square(level).mean() == pytest.approx(detail_noise(np.ones(SHAPE), 2**k).mean(), rel=0.15)


def test_an_oracle_takes_the_smaller_part():
    assert oracle(1.0, 1.0) == 0.5
    assert oracle(1e-6, 1.0) == pytest.approx(1e-6, rel=1e-3)
    assert oracle(1.0, 1e-6) == pytest.approx(1e-6, rel=1e-3)
    assert oracle(-0.1, 1.0) == oracle(1.0, 0.0) == 0.0


def test_errors_of_a_constant_bias():
    """A bias of 0.4 is wholly in the tiles' means, whose noise with half of 100 paths continued is 10 / 0.5 / 100 / 32^2."""
    found = judge(traced(np.full(SHAPE, 0.4), residual=10.0), 100, 0.5)
    assert found["path tracing"] == pytest.approx({"pixels": 0.08 / LEVEL, "blocks": 0.08 / 64 / LEVEL})
    assert found["perfect cache"] == pytest.approx({"pixels": 0.01 / LEVEL, "blocks": 0.01 / 64 / LEVEL})
    assert found["raw"] == pytest.approx({"pixels": 0.18 / LEVEL, "blocks": (0.02 / 64 + 0.16) / LEVEL})
    noise = (10.0 / 0.5 - 0.16) / 100 / 32**2
    left = 0.16 * noise / (0.16 + noise)
    assert found["perfect guide"] == pytest.approx(
        {"pixels": (0.02 + left) / LEVEL, "blocks": (0.02 / 64 + left) / LEVEL}
    )


def test_a_fine_bias_is_no_error_of_blocks():
    bias = np.where(np.indices(SHAPE[:2]).sum(axis=0) % 2, 0.4, -0.4)[..., None] * np.ones(3)
    found = judge(traced(bias, residual=10.0), 100, 0.5)
    assert found["raw"]["blocks"] == pytest.approx(0.02 / 64 / LEVEL)
    noise = 0.75 * (10.0 / 0.5 - 0.16) / 100
    assert found["perfect guide"]["pixels"] == pytest.approx((0.02 + 0.16 * noise / (0.16 + noise)) / LEVEL)
