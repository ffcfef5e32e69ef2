"""Smooth and rough metals."""

import numpy as np
import pytest

from nrc_tracer.tracer.vocabulary import LobeKind
from tests.tracer import kernels
from tests.tracer.bsdf import lobe_checks as checks
from tests.tracer.bsdf import walter
from tests.tracer.bsdf.lobes import BECKMANN, GGX, NAMES, direction, facets, lobe

ROUGHNESS = [(0.15, 0.15), (0.5, 0.5), (0.15, 0.5)]
KINDS = pytest.mark.parametrize("kind", [GGX, BECKMANN], ids=NAMES.get)


def rough(kind, roughness, **options):
    return lobe(LobeKind.ROUGH_CONDUCTOR, rough=facets(kind, *roughness), **options)


@KINDS
@pytest.mark.parametrize("roughness", ROUGHNESS, ids=str)
@pytest.mark.parametrize("theta", [20.0, 75.0])
def test_sampling_follows_the_density(kind, roughness, theta, rng):
    """Reflected directions follow their density; directions below the surface are its missing part."""
    wo = direction(theta, 25.0)
    metal = rough(kind, roughness)
    checks.assert_sampling_follows_density(metal, wo, rng, bins=(32, 32), nodes=12)


@KINDS
@pytest.mark.parametrize("roughness", [(0.02, 0.02), *ROUGHNESS], ids=str)
@pytest.mark.parametrize("theta", [0.0, 50.0, 85.0])
def test_sample_agrees_with_evaluation(kind, roughness, theta, rng):
    """Weight and density of samples agree with evaluation."""
    metal = rough(kind, roughness, eta=0.2, k=3.9, color=(0.9, 0.5, 0.1))
    factor = 4.0 if kind == BECKMANN else 1.0
    checks.assert_sample_agrees_with_evaluation(metal, direction(theta, 25.0), rng, alpha=min(roughness) / factor)


@KINDS
@pytest.mark.parametrize("roughness", ROUGHNESS, ids=str)
def test_evaluation_agrees_with_walter(kind, roughness, rng):
    """f cos equals that of the float64 oracle, which uses complex amplitudes for the reflectance."""
    metal = rough(kind, roughness, eta=0.2, k=3.9)
    wo = direction(50.0, 25.0)
    wi, _ = walter.sphere_quadrature(24, 32, 0.02, 1.0)
    wi = wi.astype(np.float32)
    value = kernels.evaluate_lobe_many(metal, wo, wi)[:, 0]
    expected = walter.conductor(
        kind, *roughness, wo.astype(np.float64), wi.astype(np.float64), lambda c: walter.fresnel_complex(c, 0.2, 3.9)
    )
    bright = expected > 1e-4 * expected.max()
    # 1e-4 of the peak is at a slope of 3 alpha (Beckmann); d ln D = 2 slope d(slope) / alpha^2
    np.testing.assert_allclose(value[bright], expected[bright], rtol=64 * checks.EPS / min(roughness))


@KINDS
@pytest.mark.parametrize("roughness", [(0.3, 0.3), (0.7, 0.7), (0.3, 0.8)], ids=str)
@pytest.mark.parametrize("theta", [5.0, 45.0, 80.0])
def test_albedo_is_what_single_scattering_leaves(kind, roughness, theta, rng):
    """The mean weight equals the oracle's integral of f cos over the hemisphere, which is at most 1."""
    wo = direction(theta, 25.0)
    albedo, error, _ = checks.mean_weight(rough(kind, roughness), wo, rng)
    w, weights = walter.sphere_quadrature(300, 96)
    expected = (walter.conductor(kind, *roughness, wo.astype(np.float64), w) * weights).sum()
    assert expected <= 1.0
    assert np.all(np.abs(albedo - expected) < 4.0 * error + 1e-5)


@KINDS
def test_reciprocity(kind, rng):
    """f(a, b) = f(b, a)."""
    checks.assert_reciprocal(rough(kind, (0.3, 0.5), eta=1.1, k=2.0), rng, alpha=0.3)


@pytest.mark.parametrize("theta", [0.0, 45.0, 89.0])
def test_smooth_mirror_is_lossless(theta, rng):
    """With eta 0 and k 1 a smooth metal reflects everything, in the mirror direction."""
    wo = direction(theta, 130.0)
    s = kernels.sample_lobe_many(lobe(LobeKind.CONDUCTOR), wo, 4, rng)
    np.testing.assert_array_equal(s.wi, np.broadcast_to(wo * np.float32([-1, -1, 1]), (4, 3)))
    np.testing.assert_allclose(s.weight, 1.0, atol=4 * checks.EPS)
    assert s.delta.all()


@pytest.mark.parametrize(("eta", "k"), [(0.2, 3.9), (1.5, 0.0), (3.0, 4.0), (0.05, 2.0)])
def test_fresnel_agrees_with_complex_amplitudes(eta, k, rng):
    """The reflectance of a smooth metal is that of complex Fresnel amplitudes, from normal to grazing incidence."""
    theta = np.linspace(0.0, 89.5, 50)
    wo = np.array([direction(t) for t in theta])
    s = kernels.sample_lobe_many(lobe(LobeKind.CONDUCTOR, eta=eta, k=k), wo, 50, rng)
    expected = walter.fresnel_complex(wo[:, 2].astype(np.float64), eta, k)
    # Squares of k up to 16 cancel to small numbers: tens of eps
    np.testing.assert_allclose(s.weight[:, 0], expected, atol=64 * checks.EPS)
