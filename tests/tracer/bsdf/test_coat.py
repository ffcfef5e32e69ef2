"""Tables of rough coats, compared with brute force."""

import numpy as np
import pytest

from nrc_tracer.tracer.bsdf.coat import (
    TABLE_SIZE,
    diffuse_fresnel_reflectance,
    directional_scattering,
    fresnel,
    rough_coat,
)
from nrc_tracer.tracer.vocabulary import Distribution
from tests.tracer.bsdf import walter
from tests.tracer.bsdf.lobes import direction

KINDS = pytest.mark.parametrize("kind", list(Distribution), ids=lambda k: k.name)


def monte_carlo(kind, alpha, eta, theta, rng, count=400_000):
    """Mean and error of the reflected and transmitted fractions: normals drawn by D cos, weights of Walter et al. eq. 41."""
    u, phi = rng.random(count), 2.0 * np.pi * rng.random(count)
    tan2 = alpha**2 * (-np.log1p(-u) if kind == Distribution.BECKMANN else u / (1.0 - u))
    cos = 1.0 / np.sqrt(1.0 + tan2)
    sin = np.sqrt(1.0 - cos**2)
    m = np.stack([sin * np.cos(phi), sin * np.sin(phi), cos], axis=1)
    o = direction(theta).astype(np.float64)
    o_m = m @ o
    g_o = walter.shadowing(int(kind), alpha, alpha, np.broadcast_to(o, m.shape), m)
    f = walter.fresnel(np.maximum(o_m, 1e-9), eta)
    weight = np.where(o_m > 0.0, o_m * g_o / (o[2] * cos), 0.0)
    r = 2.0 * o_m[:, None] * m - o
    sin2_t = (1.0 - o_m**2) / eta**2
    t = (o_m / eta - np.sqrt(np.maximum(0.0, 1.0 - sin2_t)))[:, None] * m - o / eta
    g_r = np.where(r[:, 2] > 0.0, walter.shadowing(int(kind), alpha, alpha, r, m), 0.0)
    g_t = np.where(t[:, 2] < 0.0, walter.shadowing(int(kind), alpha, alpha, t, m), 0.0)
    shares = weight * f * g_r, weight * (1.0 - f) * g_t
    return [(s.mean(), s.std() / np.sqrt(count)) for s in shares]


@KINDS
@pytest.mark.parametrize("alpha", [0.05, pytest.param(0.3, marks=pytest.mark.slow), 0.9])
@pytest.mark.parametrize("eta", [1.5, 1.0 / 1.5])
def test_directional_scattering_agrees_with_brute_force(kind, alpha, eta, rng):
    """Quadrature and Monte Carlo simulation give the same fractions at steep, slanted and grazing angles."""
    angles = [5.0, 50.0, 75.0, 86.0]
    cosines = np.array([float(direction(a)[2]) for a in angles])
    reflected, transmitted = directional_scattering(cosines, alpha, eta, kind)
    for i, angle in enumerate(angles):
        for share, (mean, error) in zip(
            (reflected[i], transmitted[i]), monte_carlo(kind, alpha, eta, angle, rng), strict=True
        ):
            # The visible set has edges, which are steps for the 128 nodes: an error of 1e-3
            assert abs(share - mean) < 4.5 * error + 1e-3, (angle, share, mean)


@KINDS
@pytest.mark.parametrize("alpha", [1e-4, 0.02, 0.2, 1.0])
@pytest.mark.parametrize("eta", [1.2, 1.5, 2.4, 1.0 / 1.5])
def test_no_energy_is_created(kind, alpha, eta):
    """For every direction of the table, the reflected and transmitted fractions are in [0, 1] and add up to at most 1."""
    r, t = directional_scattering(np.maximum(1e-6, np.linspace(0.0, 1.0, TABLE_SIZE)), alpha, eta, kind)
    assert np.all(np.isfinite(r) & np.isfinite(t))
    assert min(r.min(), t.min()) >= 0.0
    assert (r + t).max() <= 1.0 + 1e-3  # the error of the quadrature, as above


@KINDS
def test_nearly_smooth_coat_is_fresnel(kind):
    """At roughness 1e-4 the fractions are those of a smooth boundary."""
    cosines = np.array([0.1, 0.3, 0.7, 1.0])
    r, t = directional_scattering(cosines, 1e-4, 1.5, kind)
    expected = walter.fresnel(cosines, 1.5)
    # Normals deviate by alpha; the steepest change of F here is 5 per unit of cosine
    np.testing.assert_allclose(r, expected, atol=2e-3)
    np.testing.assert_allclose(t, 1.0 - expected, atol=2e-3)


def test_shape_of_the_table_of_a_rough_coat():
    """The transmittances are in [0, 1] and rise with the cosine; the diffuse reflectance is close to that of a smooth coat."""
    table, inside = rough_coat(0.1, 1.5, Distribution.GGX)
    assert table.shape == (TABLE_SIZE,)
    assert table.dtype == np.float32
    assert np.all((table >= 0.0) & (table <= 1.0))
    assert np.all(np.diff(table[4:]) > 0.0)
    assert inside == pytest.approx(diffuse_fresnel_reflectance(1.0 / 1.5), abs=0.05)


@pytest.mark.parametrize("eta", [1.1, 1.33, 1.5, 2.0])
def test_diffuse_fresnel_reflectance_closed_form(eta):
    """From outside it equals Walsh's closed form (Duntley 1942, eq. 1), and from inside 1 - (1 - r) / eta^2."""
    n = eta
    walsh = (
        0.5
        + (n - 1) * (3 * n + 1) / (6 * (n + 1) ** 2)
        + n**2 * (n**2 - 1) ** 2 / (n**2 + 1) ** 3 * np.log((n - 1) / (n + 1))
        - 2 * n**3 * (n**2 + 2 * n - 1) / ((n**2 + 1) * (n**4 - 1))
        + 8 * n**4 * (n**4 + 1) / ((n**2 + 1) * (n**4 - 1) ** 2) * np.log(n)
    )
    assert diffuse_fresnel_reflectance(n) == pytest.approx(walsh, abs=1e-6)
    assert diffuse_fresnel_reflectance(1.0 / n) == pytest.approx(1.0 - (1.0 - walsh) / n**2, abs=1e-6)


def test_diffuse_fresnel_reflectance_published_value():
    """0.5963 for diffuse light inside glass of index 1.5 (Egan and Hilgeman, *Optical Properties of Inhomogeneous Materials*)."""
    assert diffuse_fresnel_reflectance(1.0 / 1.5) == pytest.approx(0.5963, abs=2e-4)


@pytest.mark.parametrize("eta", [1.5, 1.0 / 1.5])
def test_fresnel_agrees_with_amplitudes(eta):
    """The host's reflectance equals that of complex amplitudes, even in total reflection; angles obey Snell's law."""
    cos = np.linspace(1e-3, 1.0, 200)
    r, cos_t = fresnel(cos, eta)
    np.testing.assert_allclose(r, walter.fresnel(cos, eta), atol=1e-12)
    refracted = cos_t > 0.0
    np.testing.assert_allclose(eta**2 * (1.0 - cos_t[refracted] ** 2), 1.0 - cos[refracted] ** 2, atol=1e-12)
