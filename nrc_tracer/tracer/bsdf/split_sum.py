"""Directional albedo of microfacets with Schlick's Fresnel term, split into a scale and an offset of the reflectance F0.

With F = F0 + (1 - F0) w, w = (1 - cos)^5, the directional albedo of a rough mirror is F0 A + B, where A and B are the integrals
of 1 - w and of w over the visible microfacets (Lazarov, *Getting More Physical in Call of Duty: Black Ops II*, 2013; Karis, *Real
Shading in Unreal Engine 4*, 2013). The shadowing is Smith's separable one, as in the lobes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nrc_tracer.tracer.vocabulary import Distribution

SIZE = 32
"""Entries along the perceptual roughness sqrt(alpha) and along the cosine, both evenly spaced from 0 to 1."""

ENTRIES = len(Distribution) * SIZE * SIZE * 2
"""Numbers in the table: A and B for each distribution, roughness and cosine."""

LEAST_ROUGHNESS, LEAST_COSINE = 0.02, 1e-3
"""Roughness and cosine that are used for the entries at 0."""


def _masking(tan2: np.ndarray, distribution: Distribution) -> np.ndarray:
    """Smith's G1 of a surface of roughness 1; for Beckmann the fit of Walter et al. (2007), which is up to 0.35 % off."""
    if distribution == Distribution.GGX:
        return 2.0 / (1.0 + np.sqrt(1.0 + tan2))
    a = 1.0 / np.sqrt(np.maximum(tan2, 1e-12))
    fit = a * (3.535 + a * 2.181) / (1.0 + a * (2.276 + a * 2.577))
    return np.where(a < 1.6, fit, 1.0)


def split_sum(
    alphas: np.ndarray, cosines: np.ndarray, distribution: Distribution, *, nodes: tuple[int, int] = (32, 32)
) -> tuple[np.ndarray, np.ndarray]:
    """A and B by quadrature over microfacet normals with density D cos.

    Args:
        alphas: Roughnesses, shape [n], in (0, 1].
        cosines: Cosines of the direction of view, shape [m], in (0, 1].
        distribution: Distribution of the microfacet normals.
        nodes: Gauss-Legendre nodes in the cumulative probability of the polar angle, and midpoints in half the azimuth.

    Returns:
        A and B, shape [n, m] each.
    """
    x, w = np.polynomial.legendre.leggauss(nodes[0])
    x, w = 0.5 * (x + 1.0), 0.5 * w
    slope2 = x / (1.0 - x) if distribution == Distribution.GGX else -np.log1p(-x)
    cos_phi = np.cos(np.pi * (np.arange(nodes[1]) + 0.5) / nodes[1])
    cos_o = cosines[:, None, None]
    sin_o = np.sqrt(1.0 - cos_o**2)
    a, b = np.empty((2, len(alphas), len(cosines)))
    for i, alpha in enumerate(alphas):
        cos_m = (1.0 / np.sqrt(1.0 + alpha**2 * slope2))[:, None]
        o_m = np.maximum(sin_o * np.sqrt(1.0 - cos_m**2) * cos_phi + cos_o * cos_m, 0.0)
        cos_i = 2.0 * o_m * cos_m - cos_o
        up = np.maximum(cos_i, 1e-6)
        g_o = _masking(alpha**2 * (1.0 / cosines**2 - 1.0), distribution) / cosines
        g_i = np.where(cos_i > 0.0, _masking(alpha**2 * (1.0 / up**2 - 1.0), distribution), 0.0)
        albedo = g_o[:, None, None] * g_i * o_m * (w[:, None] / (cos_m * nodes[1]))
        m = 1.0 - o_m
        m2 = m * m
        a[i], b[i] = albedo.sum(axis=(1, 2)), (albedo * (m2 * m2 * m)).sum(axis=(1, 2))
    return a - b, b


@lru_cache(maxsize=1)
def split_sum_table() -> np.ndarray:
    """The table as `reflectance.split_sum` reads it: float32, flat, [distribution, roughness, cosine, A or B]."""
    grid = np.linspace(0.0, 1.0, SIZE)
    alphas, cosines = np.maximum(grid, LEAST_ROUGHNESS) ** 2, np.maximum(grid, LEAST_COSINE)
    parts = [np.stack(split_sum(alphas, cosines, distribution), axis=-1) for distribution in sorted(Distribution)]
    table = np.stack(parts).astype(np.float32).ravel()
    table.flags.writeable = False
    return table
