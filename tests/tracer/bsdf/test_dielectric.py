"""Glass: smooth, thin and rough. Radiance is compressed by 1 / eta^2 on refraction, so that weights times eta^2 are energy."""

import numpy as np
import pytest

from nrc_tracer.tracer.vocabulary import LobeKind
from tests.tracer import kernels
from tests.tracer.bsdf import lobe_checks as checks
from tests.tracer.bsdf import walter
from tests.tracer.bsdf.lobes import BECKMANN, GGX, NAMES, direction, facets, lobe

KINDS = pytest.mark.parametrize("kind", [GGX, BECKMANN], ids=NAMES.get)
ANGLES = [0.0, 30.0, 60.0, 85.0]
BOTH_SIDES = [10.0, 60.0, 125.0, 165.0]


def rough(kind, *roughness, ior=1.5):
    return lobe(LobeKind.ROUGH_DIELECTRIC, rough=facets(kind, *roughness), ior=ior)


def energy(s: kernels.LobeSamples) -> np.ndarray:
    """Weights without the compression of radiance, 0 where nothing is scattered."""
    return np.where(s.pdf > 0.0, s.weight[:, 0].astype(np.float64) * s.eta.astype(np.float64) ** 2, 0.0)


def tolerance(wo: np.ndarray, wi: np.ndarray, eta: float, alpha: float) -> np.ndarray:
    """Relative rounding error of f cos for each pair of directions.

    The normal of a refraction comes from a sum that cancels to |eta - 1|, and the density changes by up to 4 / alpha of its
    error. Near grazing incidence on the microfacet 1 - F goes to zero with the cosine c on the other side, which the squares of
    Snell's law give with an error of eps / c^2.
    """
    eta = np.where(wi[..., 2] * wo[..., 2] > 0.0, 1.0, eta)[..., None]
    m = walter.unit((wo + wi * eta).astype(np.float64))
    cos = np.minimum(np.abs(walter.dot(wo, m)), np.abs(walter.dot(wi, m)))
    return 32.0 * checks.EPS / alpha / 0.5 * (1.0 + 1.0 / np.maximum(cos, 1e-6) ** 2)


@pytest.mark.parametrize("theta", [0.0, 30.0, 60.0, 89.0, 100.0, 135.0, 139.0, 180.0])
@pytest.mark.parametrize("ior", [1.5, 0.7])
def test_smooth_glass_is_lossless_and_obeys_snell(theta, ior, rng):
    """Every sample carries all energy, the fraction of reflections is Fresnel's, and refraction obeys Snell's law."""
    wo = direction(theta, 70.0)
    count = 50_000
    s = kernels.sample_lobe_many(lobe(LobeKind.DIELECTRIC, ior=ior), wo, count, rng)
    np.testing.assert_allclose(energy(s), 1.0, rtol=4 * checks.EPS)
    np.testing.assert_allclose(np.linalg.norm(s.wi.astype(np.float64), axis=1), 1.0, atol=4 * checks.EPS / ior)
    eta = ior if wo[2] > 0.0 else 1.0 / ior
    reflectance = float(walter.fresnel(abs(float(wo[2])), eta))
    reflected = s.wi[:, 2] * wo[2] > 0.0
    assert abs(reflected.mean() - reflectance) <= 4.0 * np.sqrt(reflectance * (1.0 - reflectance) / count) + 1e-6
    np.testing.assert_allclose(s.pdf, np.where(reflected, reflectance, 1.0 - reflectance), atol=64 * checks.EPS)
    np.testing.assert_allclose(s.wi[~reflected, :2] * eta, np.broadcast_to(-wo[:2], (np.sum(~reflected), 2)), atol=1e-6)


@pytest.mark.parametrize("theta", [*ANGLES, 120.0, 175.0])
def test_thin_glass_is_lossless_and_goes_straight_on(theta, rng):
    """All energy is reflected or passes straight through; the reflected fraction is 2 R / (1 + R) from both sides."""
    wo = direction(theta, 70.0)
    count = 50_000
    s = kernels.sample_lobe_many(lobe(LobeKind.THIN_DIELECTRIC), wo, count, rng)
    np.testing.assert_array_equal(s.weight, 1.0)
    reflected = s.wi[:, 2] * wo[2] > 0.0
    np.testing.assert_array_equal(s.wi[~reflected], np.broadcast_to(-wo, (np.sum(~reflected), 3)))
    r = float(walter.fresnel(abs(float(wo[2])), 1.5))
    # The geometric series R + T R T + T R^3 T + ...
    series = r + sum((1.0 - r) ** 2 * r ** (2 * n + 1) for n in range(200))
    assert abs(reflected.mean() - series) <= 4.0 * np.sqrt(series * (1.0 - series) / count)
    np.testing.assert_allclose(s.pdf[reflected], series, rtol=64 * checks.EPS)


@KINDS
@pytest.mark.parametrize("roughness", [(0.25, 0.25), (0.2, 0.5)], ids=str)
@pytest.mark.parametrize("theta", BOTH_SIDES)
def test_sampling_follows_the_density(kind, roughness, theta, rng):
    """Reflected and refracted directions follow their density, seen from outside and from inside."""
    checks.assert_sampling_follows_density(
        rough(kind, *roughness), direction(theta, 25.0), rng, bins=(40, 24), nodes=12
    )


@KINDS
@pytest.mark.parametrize("theta", BOTH_SIDES)
@pytest.mark.parametrize("ior", [1.5, 1.1])
def test_sample_agrees_with_evaluation(kind, theta, ior, rng):
    """Weight and density of samples agree with evaluation."""
    alpha = 0.1 if kind == GGX else 0.1 / 4.0
    checks.assert_sample_agrees_with_evaluation(
        rough(kind, 0.1, 0.3, ior=ior), direction(theta, 25.0), rng, alpha=alpha, contrast=1.0 / (ior - 1.0)
    )


@KINDS
@pytest.mark.parametrize("theta", [50.0, 130.0])
def test_evaluation_agrees_with_walter(kind, theta, rng):
    """f cos of reflection and refraction equals that of the float64 oracle."""
    wo = direction(theta, 25.0)
    wi, _ = walter.sphere_quadrature(60, 40, -0.98, 0.98)
    wi = wi.astype(np.float32)
    value = kernels.evaluate_lobe_many(rough(kind, 0.3, 0.5), wo, wi)[:, 0]
    expected = walter.dielectric(kind, 0.3, 0.5, 1.5, wo.astype(np.float64), wi.astype(np.float64))
    bright = expected > 1e-4 * expected.max()
    for side in (wi[:, 2] > 0.0, wi[:, 2] < 0.0):
        assert np.sum(bright & side) > 50
    assert not value[expected == 0.0].any()
    error = np.abs(value / np.where(bright, expected, 1.0) - 1.0)[bright]
    assert np.max(error / tolerance(wo, wi[bright], 1.5 if wo[2] > 0.0 else 1.0 / 1.5, 0.3)) < 1.0


@KINDS
@pytest.mark.parametrize("theta", [10.0, 50.0, 130.0, 160.0])
def test_energy_is_what_single_scattering_leaves(kind, theta, rng):
    """Reflected and transmitted energy each equal the oracle's integrals, and add up to at most 1."""
    wo = direction(theta, 25.0)
    _, _, s = checks.mean_weight(rough(kind, 0.4), wo, rng)
    weight = energy(s)
    assert weight.max() <= 1.0 + 4 * checks.EPS
    eta = 1.5 if wo[2] > 0.0 else 1.0 / 1.5
    for same_side in (True, False):
        chosen = np.where((s.wi[:, 2] * wo[2] > 0.0) == same_side, weight, 0.0)
        upper = (wo[2] > 0.0) == same_side
        w, areas = walter.sphere_quadrature(300, 64, *((0.0, 1.0) if upper else (-1.0, 0.0)))
        expected = (walter.dielectric(kind, 0.4, 0.4, 1.5, wo.astype(np.float64), w) * areas).sum()
        expected *= 1.0 if same_side else eta**2
        # The cone of refraction has an edge that no quadrature node resolves: 300 nodes have an error of a few 1e-4
        assert abs(chosen.mean() - expected) < 4.0 * chosen.std() / np.sqrt(len(chosen)) + 3e-4


@KINDS
def test_reflection_is_reciprocal(kind, rng):
    """Reflection satisfies f(a, b) = f(b, a)."""
    checks.assert_reciprocal(rough(kind, 0.3, 0.5), rng, alpha=0.3)


@KINDS
def test_refraction_is_reciprocal_up_to_the_squared_index(kind, rng):
    """Refraction satisfies f(a, b) eta_b^2 = f(b, a) eta_a^2: radiance over the squared index is conserved."""
    a = walter.unit(np.column_stack([rng.normal(size=(4000, 2)), rng.uniform(0.2, 3.0, 4000)])).astype(np.float32)
    b = walter.unit(np.column_stack([rng.normal(size=(4000, 2)), -rng.uniform(0.2, 3.0, 4000)])).astype(np.float32)
    glass = rough(kind, 0.3, 0.5)
    # f(wo, wi) is for radiance from wi to wo
    down = kernels.evaluate_lobe_many(glass, a, b)[:, 0].astype(np.float64) / -b[:, 2]
    up = kernels.evaluate_lobe_many(glass, b, a)[:, 0].astype(np.float64) / a[:, 2]
    seen = down > 1e-4
    assert np.mean(seen) > 0.1
    error = np.abs(down[seen] * 1.5**2 / up[seen] - 1.0)
    assert np.max(error / tolerance(a[seen], b[seen], 1.5, 0.3)) < 1.0
