"""Lambertian reflection."""

import numpy as np

from nrc_tracer.tracer.vocabulary import LobeKind
from tests.tracer import kernels
from tests.tracer.bsdf import lobe_checks as checks
from tests.tracer.bsdf.lobes import direction, lobe

COLOR = (0.9, 0.5, 0.1)
DIFFUSE = lobe(LobeKind.DIFFUSE, color=COLOR)


def test_sampling_follows_the_density(rng):
    """Directions follow cos / pi."""
    checks.assert_sampling_follows_density(DIFFUSE, direction(30.0), rng)


def test_sample_agrees_with_evaluation(rng):
    """Weight and density of samples agree with evaluation."""
    checks.assert_sample_agrees_with_evaluation(DIFFUSE, direction(70.0), rng)


def test_value_is_albedo_over_pi():
    """f cos = albedo cos / pi above the surface. Directions below it, and views from below, are black."""
    up, low = direction(60.0), direction(120.0)
    value = kernels.evaluate_lobe_many(DIFFUSE, direction(20.0), up)[0]
    np.testing.assert_allclose(value, [*(np.array(COLOR) * 0.5 / np.pi), 0.5 / np.pi], rtol=1e-6)
    assert not kernels.evaluate_lobe_many(DIFFUSE, up, low).any()
    assert not kernels.evaluate_lobe_many(DIFFUSE, low, low).any()


def test_weight_is_the_albedo(rng):
    """Every sample has exactly the albedo as its weight."""
    s = kernels.sample_lobe_many(DIFFUSE, direction(45.0), 1000, rng)
    np.testing.assert_array_equal(s.weight, np.broadcast_to(np.float32(COLOR), (1000, 3)))
    assert np.all(s.pdf > 0.0)
