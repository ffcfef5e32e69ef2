"""Directional transmittance of rough dielectric coats, tabulated on the host when a scene is loaded."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nrc_tracer.tracer.vocabulary import Distribution

TABLE_SIZE = 64
"""Entries, evenly spaced in the cosine from 0 to 1."""


def fresnel(cos_i: np.ndarray, eta: float) -> tuple[np.ndarray, np.ndarray]:
    """Fresnel reflectance and cosine of the refracted angle for `cos_i` >= 0; `eta`: transmitted over incident index."""
    cos_t = np.sqrt(np.maximum(0.0, 1.0 - (1.0 - cos_i**2) / eta**2))
    parallel = (eta * cos_i - cos_t) / np.maximum(eta * cos_i + cos_t, 1e-30)
    perpendicular = (cos_i - eta * cos_t) / np.maximum(cos_i + eta * cos_t, 1e-30)
    return 0.5 * (parallel**2 + perpendicular**2), cos_t


def _masking(cosine: np.ndarray, alpha: float, distribution: Distribution) -> np.ndarray:
    """Smith's G1 of an isotropic surface."""
    tan = alpha * np.sqrt(np.maximum(0.0, 1.0 - cosine**2)) / np.maximum(np.abs(cosine), 1e-9)
    if distribution == Distribution.GGX:
        return 2.0 / (1.0 + np.sqrt(1.0 + tan**2))
    from math import erf

    a = 1.0 / np.maximum(tan, 1e-9)
    return 2.0 / (1.0 + np.vectorize(erf)(a) + tan / np.sqrt(np.pi) * np.exp(-np.minimum(a * a, 700.0)))


def directional_scattering(
    cosines: np.ndarray, alpha: float, eta: float, distribution: Distribution, *, nodes: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of the light from each direction that a rough boundary reflects and transmits in one bounce.

    They are integrals over the microfacet normals of Walter et al.'s model, by Gauss-Legendre quadrature over D cos.

    Args:
        cosines: Cosines of the incident directions, shape [n], in (0, 1].
        alpha: Roughness.
        eta: Index behind the boundary over index in front.
        distribution: Distribution of the microfacet normals.
        nodes: Quadrature nodes in each of the two dimensions.

    Returns:
        Reflectance and transmittance, shape [n] each.
    """
    x, w = np.polynomial.legendre.leggauss(nodes)
    x, w = 0.5 * (x + 1.0), 0.5 * w
    tan2 = alpha**2 * (x / (1.0 - x) if distribution == Distribution.GGX else -np.log1p(-x))
    cos_m, phi = 1.0 / np.sqrt(1.0 + tan2), np.pi * x
    sin_m = np.sqrt(1.0 - cos_m**2)
    weight = w[:, None] * w[None, :]

    reflected, transmitted = np.empty(len(cosines)), np.empty(len(cosines))
    for i, cos_o in enumerate(cosines):
        sin_o = np.sqrt(max(0.0, 1.0 - cos_o**2))
        o_m = sin_o * sin_m[:, None] * np.cos(phi)[None, :] + cos_o * cos_m[:, None]
        facing = np.maximum(o_m, 0.0)
        f, cos_t = fresnel(facing, eta)
        visible = weight * facing * _masking(np.array(cos_o), alpha, distribution) / (cos_o * cos_m[:, None])
        z_reflected = 2.0 * facing * cos_m[:, None] - cos_o
        z_transmitted = (facing / eta - cos_t) * cos_m[:, None] - cos_o / eta
        g_r = np.where(z_reflected > 0.0, _masking(z_reflected, alpha, distribution), 0.0)
        g_t = np.where(z_transmitted < 0.0, _masking(z_transmitted, alpha, distribution), 0.0)
        reflected[i], transmitted[i] = (visible * f * g_r).sum(), (visible * (1.0 - f) * g_t).sum()
    return reflected, transmitted


@lru_cache(maxsize=256)
def rough_coat(alpha: float, eta: float, distribution: Distribution) -> tuple[np.ndarray, float]:
    """The transmittance table of a rough coat, shape [TABLE_SIZE], and its reflectance for diffuse light from inside.

    The reflectance is a mean over the table's cosines, as in Mitsuba's `roughplastic`. It is up to 1.6 % below the exact
    integral, which makes the base up to 2 % darker, but it is what scenes made with Mitsuba were tuned for.
    """
    cosines = np.maximum(1e-6, np.linspace(0.0, 1.0, TABLE_SIZE))
    _, transmittance = directional_scattering(cosines, alpha, eta, distribution)
    inside, _ = directional_scattering(cosines, alpha, 1.0 / eta, distribution)
    return transmittance.astype(np.float32), float(2.0 * (inside * cosines).mean())


@lru_cache(maxsize=256)
def diffuse_fresnel_reflectance(eta: float) -> float:
    """Reflectance of a smooth boundary for diffuse light, by quadrature. `eta`: transmitted over incident index."""
    critical = np.sqrt(max(0.0, 1.0 - eta**2)) if eta < 1.0 else 0.0
    x, w = np.polynomial.legendre.leggauss(256)
    total = critical**2  # below the critical cosine everything is reflected
    cosines = critical + (1.0 - critical) * 0.5 * (x + 1.0)
    total += (fresnel(cosines, eta)[0] * 2.0 * cosines * 0.5 * (1.0 - critical) * w).sum()
    return float(total)
