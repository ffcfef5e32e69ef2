"""Plastic: a diffuse base under a smooth or a rough coat."""

import numpy as np
import pytest

from tests.tracer import kernels
from tests.tracer.bsdf import lobe_checks as checks
from tests.tracer.bsdf import walter
from tests.tracer.bsdf.lobes import BECKMANN, GGX, NAMES, direction, plastic

KINDS = pytest.mark.parametrize("kind", [GGX, BECKMANN], ids=NAMES.get)
ANGLES = [5.0, 45.0, 80.0]


@pytest.mark.parametrize("theta", [30.0, 80.0])
def test_smooth_sampling_follows_the_density(theta, rng):
    """Directions of the base follow their density; delta directions of the coat are its missing part."""
    lobe, table = plastic()
    checks.assert_sampling_follows_density(lobe, direction(theta), rng, table)


@KINDS
@pytest.mark.parametrize("theta", [30.0, 75.0])
@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_rough_sampling_follows_the_density(kind, theta, alpha, rng):
    """Directions of coat and base together follow their density."""
    lobe, table = plastic(alpha=alpha, kind=kind)
    checks.assert_sampling_follows_density(lobe, direction(theta, 25.0), rng, table, bins=(32, 24))


@pytest.mark.parametrize("nonlinear", [False, True])
@pytest.mark.parametrize("theta", ANGLES)
def test_smooth_sample_agrees_with_evaluation(nonlinear, theta, rng):
    """Weight and density of the base's samples agree with evaluation."""
    lobe, table = plastic(nonlinear=nonlinear)
    checks.assert_sample_agrees_with_evaluation(lobe, direction(theta), rng, table)


@KINDS
@pytest.mark.parametrize("theta", ANGLES)
def test_rough_sample_agrees_with_evaluation(kind, theta, rng):
    """Weight and density of samples agree with evaluation."""
    lobe, table = plastic(alpha=0.1, kind=kind)
    checks.assert_sample_agrees_with_evaluation(lobe, direction(theta, 25.0), rng, table, alpha=0.1 / 4.0)


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_reciprocity(alpha, rng):
    """f(a, b) = f(b, a)."""
    lobe, table = plastic(alpha=alpha)
    checks.assert_reciprocal(lobe, rng, table, alpha=alpha or 1.0)


@pytest.mark.parametrize("theta", ANGLES)
@pytest.mark.parametrize("nonlinear", [False, True])
def test_smooth_albedo(nonlinear, theta, rng):
    """The albedo is F + (1 - F) a (1 - r_e) / (1 - a r_i) with r_e, r_i the diffuse reflectances from outside and inside.

    For a white base it is 1: r_i = 1 - (1 - r_e) / eta^2 makes the coated base lossless.
    """
    base = 1.0 if nonlinear else 0.6
    lobe, table = plastic(color=(base,) * 3, nonlinear=nonlinear)
    wo = direction(theta)
    albedo, error, s = checks.mean_weight(lobe, wo, rng, table)
    x, w = np.polynomial.legendre.leggauss(200)
    cos = 0.5 * (x + 1.0)
    external = (w * cos * walter.fresnel(cos, 1.5)).sum()
    internal = 1.0 - (1.0 - external) / 1.5**2
    f = float(walter.fresnel(float(wo[2]), 1.5))
    expected = f + (1.0 - f) * (1.0 - external) / 1.5**2 * base / (1.0 - (base if nonlinear else 1.0) * internal)
    assert np.all(np.abs(albedo - expected) < 4.0 * error + 1e-5)
    if base == 1.0:
        assert abs(expected - 1.0) < 1e-6
    # The coat's fraction of the samples and its mirror direction
    np.testing.assert_allclose(s.wi[s.delta], np.broadcast_to(wo * np.float32([-1, -1, 1]), (s.delta.sum(), 3)))
    assert s.delta.any()


@KINDS
@pytest.mark.parametrize("theta", ANGLES)
def test_rough_albedo(kind, theta, rng):
    """Under a rough coat the albedo of a white base is at most 1, and that of a black base is the coat's reflection alone."""
    wo = direction(theta)
    lobe, table = plastic(color=(1.0, 1.0, 0.0), alpha=0.3, kind=kind)
    albedo, error, _ = checks.mean_weight(lobe, wo, rng, table)
    assert np.all(albedo <= 1.0 + 4.0 * error)
    w, weights = walter.sphere_quadrature(300, 96)
    coat = walter.conductor(kind, 0.3, 0.3, wo.astype(np.float64), w, lambda c: walter.fresnel(c, 1.5))
    assert abs(albedo[2] - (coat * weights).sum()) < 4.0 * error[2] + 1e-5
    # The base adds light that passes the coat: most of it for a view along the normal
    assert albedo[0] > albedo[2] + 0.3 * (1.0 - albedo[2])


def test_black_from_below(rng):
    """Nothing is scattered when seen from below."""
    for alpha in (None, 0.3):
        lobe, table = plastic(alpha=alpha)
        assert not kernels.sample_lobe_many(lobe, direction(110.0), 100, rng, table).pdf.any()
        assert not kernels.evaluate_lobe_many(lobe, direction(110.0), direction(20.0), table).any()
