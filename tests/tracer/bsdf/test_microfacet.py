"""Microfacet distributions: visible normals are drawn from their density, which is normalized."""

import numpy as np
import pytest

from tests.tracer import kernels
from tests.tracer.bsdf import walter
from tests.tracer.bsdf.lobes import BECKMANN, GGX, NAMES, direction, facets
from tests.tracer.chi_square import assert_directions

COUNT = 120_000
ROUGHNESS = [(0.1, 0.1), (0.5, 0.5), (1.0, 1.0), (0.1, 0.6), (0.7, 0.2)]


def visible_normals(f, w, rng, count=COUNT):
    out = kernels.zeros(count, kernels.wp.vec3)
    u = kernels.array(kernels.uniform(rng, count, 2), kernels.wp.vec2)
    kernels.launch(kernels.visible_normal_kernel, count, [f, kernels.wp.vec3(*w), u, out])
    return out.numpy()


def visible_pdf(f, w, m):
    out = kernels.zeros(len(m), float)
    kernels.launch(
        kernels.visible_normal_pdf_kernel, len(m), [f, kernels.wp.vec3(*w), kernels.array(m, kernels.wp.vec3), out]
    )
    return out.numpy()


@pytest.mark.parametrize("theta", [0.0, 40.0, 80.0, 89.0])
@pytest.mark.parametrize("roughness", ROUGHNESS, ids=str)
@pytest.mark.parametrize("kind", [GGX, BECKMANN], ids=NAMES.get)
def test_visible_normals_follow_their_density(kind, roughness, theta, rng):
    """Normals visible from several directions, including grazing ones, follow D G1 |w.m| / cos, which integrates to 1."""
    f, w = facets(kind, *roughness), direction(theta, 35.0)
    # Bins in the cosine widen quadratically away from the pole, where the normals of smooth surfaces are dense
    edges = 1.0 - np.linspace(1.0, 0.0, 17) ** 2
    m = visible_normals(f, w, rng)
    assert_directions(m, COUNT, lambda d: visible_pdf(f, w, d), edges=edges)


@pytest.mark.parametrize("kind", [GGX, BECKMANN], ids=NAMES.get)
@pytest.mark.parametrize("alpha", [1e-4, 1e-3, 0.01])
def test_visible_normals_of_nearly_smooth_surfaces(kind, alpha, rng):
    """At very small roughness and normal incidence, slopes of visible normals have the distribution's own quantiles."""
    m = visible_normals(facets(kind, alpha), direction(1.0), rng, 50_000).astype(np.float64)
    slope2 = (m[:, 0] ** 2 + m[:, 1] ** 2) / m[:, 2] ** 2 / alpha**2
    cdf = -np.expm1(-slope2) if kind == BECKMANN else slope2 / (1.0 + slope2)
    # At a view angle of one degree the density of slopes is tilted by slope * alpha * tan(1 deg), far below the error of 50,000
    # samples
    deviation = np.abs(np.sort(cdf) - (np.arange(50_000) + 0.5) / 50_000).max()
    assert deviation < 1.95 / np.sqrt(50_000)  # Kolmogorov-Smirnov at 0.1 %


@pytest.mark.parametrize("kind", [GGX, BECKMANN], ids=NAMES.get)
def test_visible_normals_are_finite_at_the_corners_of_the_square(kind):
    """All corners and edges of the unit square give unit normals above the surface, from any direction."""
    side = np.array([0.0, 2.0**-24, 0.5, 1.0 - 2.0**-24], np.float32)
    u = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    for theta in (0.0, 0.001, 45.0, 89.9, 89.9999):
        for alpha in (1e-4, 0.3, 1.0):
            out = kernels.zeros(len(u), kernels.wp.vec3)
            w = kernels.wp.vec3(*direction(theta, 200.0))
            u_array = kernels.array(u, kernels.wp.vec2)
            kernels.launch(kernels.visible_normal_kernel, len(u), [facets(kind, alpha), w, u_array, out])
            m = out.numpy().astype(np.float64)
            assert np.all(m[:, 2] > 0.0)
            np.testing.assert_allclose(np.linalg.norm(m, axis=1), 1.0, atol=4e-7)


@pytest.mark.parametrize("kind", [GGX, BECKMANN], ids=NAMES.get)
@pytest.mark.parametrize("roughness", ROUGHNESS, ids=str)
def test_density_agrees_with_walter(kind, roughness, rng):
    """The density of visible normals equals that of the float64 oracle."""
    w = direction(63.0, 35.0)
    m = np.column_stack([rng.normal(size=(2000, 2)) * roughness, np.ones(2000)])
    m = walter.unit(m).astype(np.float32)
    m64, w64 = m.astype(np.float64), w.astype(np.float64)
    expected = walter.density(kind, *roughness, m64) * walter.shadowing(kind, *roughness, w64, m64)
    expected *= np.maximum(walter.dot(w64, m64), 0.0) / w64[2]
    # Slopes reach 4 alpha: rounding m_z at eps / 2 changes slope^2 by 2 * 16 alpha^2 * eps / (2 alpha^2); w.m cancels
    near = walter.dot(w64, m64) > 0.01
    np.testing.assert_allclose(visible_pdf(facets(kind, *roughness), w, m)[near], expected[near], rtol=64 * 1.2e-7)
