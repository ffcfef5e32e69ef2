"""Oren and Nayar's rough diffuse reflection, against the paper's formulas in float64."""

import numpy as np
import pytest

from nrc_tracer.scene.model import Bitmap, Diffuse, DirectionalLight, Rectangle, Scale
from nrc_tracer.tracer.vocabulary import LobeKind
from tests.tracer import kernels
from tests.tracer.bsdf import lobe_checks as checks
from tests.tracer.bsdf import walter
from tests.tracer.bsdf.lobes import GGX, direction, facets, lobe
from tests.tracer.tiny_scenes import assert_mean, probe, rendered, scene

COLOR = (1.0, 0.5, 0.1)
MODELS = pytest.mark.parametrize("qualitative", [False, True], ids=["full", "qualitative"])
ALPHAS = pytest.mark.parametrize("alpha", [0.1, 0.5, 1.5])
ANGLES = [0.0, 30.0, 60.0, 85.0]


def rough_diffuse(alpha: float, qualitative: bool, color: tuple = COLOR):
    """A rough diffuse lobe."""
    result = lobe(LobeKind.ROUGH_DIFFUSE, color=color, rough=facets(GGX, alpha))
    result.nonlinear = int(qualitative)
    return result


def oren_nayar(wo: np.ndarray, wi: np.ndarray, alpha: float, qualitative: bool, rho: float) -> np.ndarray:
    """f cos of directions wi, shape [n, 3], by equations 27 to 30 of the paper, with angles in radians."""
    sigma2 = alpha**2 / 2.0
    theta_r, theta_i = np.arccos(wo[2]), np.arccos(np.clip(wi[:, 2], 0.0, 1.0))
    phi = np.arctan2(wi[:, 1], wi[:, 0]) - np.arctan2(wo[1], wo[0])
    cos_phi = np.where((theta_i > 1e-6) & (theta_r > 1e-6), np.cos(phi), 0.0)
    a, b = np.maximum(theta_r, theta_i), np.minimum(theta_r, theta_i)
    c1 = 1.0 - 0.5 * sigma2 / (sigma2 + 0.33)
    c2 = 0.45 * sigma2 / (sigma2 + 0.09)
    if qualitative:
        radiance = rho * (c1 + c2 * np.maximum(cos_phi, 0.0) * np.sin(a) * np.tan(b))
    else:
        c3 = 0.125 * sigma2 / (sigma2 + 0.09) * (4.0 * a * b / np.pi**2) ** 2
        side = np.where(cos_phi >= 0.0, np.sin(a), np.sin(a) - (2.0 * b / np.pi) ** 3)
        single = c1 + cos_phi * c2 * side * np.tan(b) + (1.0 - np.abs(cos_phi)) * c3 * np.tan((a + b) / 2.0)
        double = 0.17 * sigma2 / (sigma2 + 0.13) * (1.0 - cos_phi * (2.0 * b / np.pi) ** 2)
        radiance = rho * single + rho**2 * double
    return np.where(wi[:, 2] > 0.0, radiance / np.pi * np.maximum(wi[:, 2], 0.0), 0.0)


@MODELS
@ALPHAS
@pytest.mark.parametrize("theta", ANGLES)
def test_value_is_the_papers(alpha, theta, qualitative, rng):
    """f cos agrees with the formulas in float64, for light from everywhere above the surface."""
    cos, phi = rng.uniform(0.01, 1.0, 4000), rng.uniform(0.0, 2.0 * np.pi, 4000)
    sin = np.sqrt(1.0 - cos**2)
    wi = np.column_stack([sin * np.cos(phi), sin * np.sin(phi), cos]).astype(np.float32)
    wo = direction(theta, 25.0)
    value = kernels.evaluate_lobe_many(rough_diffuse(alpha, qualitative), wo, wi)
    for channel, rho in enumerate(COLOR):
        expected = oren_nayar(wo.astype(np.float64), wi.astype(np.float64), alpha, qualitative, rho)
        np.testing.assert_allclose(value[:, channel], expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(value[:, 3], wi[:, 2] / np.pi, rtol=1e-6)


@MODELS
def test_smooth_limit_is_lambert(qualitative):
    """With little roughness it is albedo / pi cos; without light or view from above it is black."""
    up, low = direction(60.0), direction(120.0)
    smooth = rough_diffuse(1e-4, qualitative)
    value = kernels.evaluate_lobe_many(smooth, direction(20.0), up)[0]
    np.testing.assert_allclose(value, [*(np.array(COLOR) * 0.5 / np.pi), 0.5 / np.pi], rtol=1e-5)
    assert not kernels.evaluate_lobe_many(smooth, up, low).any()
    assert not kernels.evaluate_lobe_many(smooth, low, up).any()


def test_rough_surfaces_shine_back_to_the_light():
    """Seen along the light at 60 degrees a rough surface is brighter than a smooth one, seen against it darker."""
    smooth, rough = rough_diffuse(1e-4, False), rough_diffuse(0.5, False)
    wo = direction(60.0)
    back, forward = (np.array([direction(60.0, phi)]) for phi in (0.0, 180.0))
    assert kernels.evaluate_lobe_many(rough, wo, back)[0, 0] > 1.3 * kernels.evaluate_lobe_many(smooth, wo, back)[0, 0]
    assert kernels.evaluate_lobe_many(rough, wo, forward)[0, 0] < kernels.evaluate_lobe_many(smooth, wo, forward)[0, 0]


@MODELS
@pytest.mark.parametrize("theta", [30.0, 80.0])
def test_sampling_follows_the_density(qualitative, theta, rng):
    """Directions follow cos / pi."""
    checks.assert_sampling_follows_density(rough_diffuse(0.4, qualitative), direction(theta), rng)


@MODELS
@pytest.mark.parametrize("theta", [5.0, 70.0])
def test_sample_agrees_with_evaluation(qualitative, theta, rng):
    """Weight and density of samples are those of evaluation."""
    checks.assert_sample_agrees_with_evaluation(rough_diffuse(0.4, qualitative), direction(theta, 25.0), rng, alpha=0.1)


@MODELS
def test_reciprocity(qualitative, rng):
    """f(a, b) = f(b, a)."""
    checks.assert_reciprocal(rough_diffuse(0.7, qualitative), rng, alpha=0.1)


@MODELS
@ALPHAS
@pytest.mark.parametrize("theta", ANGLES)
def test_albedo(alpha, theta, qualitative, rng):
    """The mean weight of samples is the integral of the formulas; a white surface exceeds 1 by no more than 5 %."""
    wo = direction(theta)
    albedo, error, _ = checks.mean_weight(rough_diffuse(alpha, qualitative), wo, rng)
    w, weights = walter.sphere_quadrature(400, 200)
    expected = [(oren_nayar(wo.astype(np.float64), w, alpha, qualitative, rho) * weights).sum() for rho in COLOR]
    assert np.all(np.abs(albedo - expected) < 4.0 * error + 2e-3)
    assert albedo[0] < 1.05 + 4.0 * error[0]


@MODELS
def test_render_is_the_closed_form(qualitative):
    """A floor under a directional light has f cos E; its roughness is taken from a texture."""
    alpha = 0.5
    light = DirectionalLight(direction=(-1.0, -0.5, -1.0), irradiance=2.0)
    described = scene(
        Rectangle(to_world=(Scale(50.0),), material="m"),
        lights=[light],
        materials={"m": Diffuse(reflectance=COLOR, alpha="rough", qualitative=qualitative)},
        textures={"rough": Bitmap(file="rough", raw=True)},
        images={"rough": np.full((2, 2, 3), alpha, np.float32)},
        camera=probe(origin=(3.0, 1.0, 2.0)),
    )
    wo, wi = (np.array(v) / np.linalg.norm(v) for v in ([3.0, 1.0, 2.0], [1.0, 0.5, 1.0]))
    expected = [2.0 * oren_nayar(wo, wi[None], alpha, qualitative, rho)[0] for rho in COLOR]
    assert_mean(rendered(described, 16), expected, rounding=1e-3)
