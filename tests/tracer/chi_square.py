"""Chi-square test of samplers: counts in bins are compared with the stated density, integrated over each bin.

As in Mitsuba's `ChiSquareTest` (W. Jakob), the density is integrated by Gauss-Legendre quadrature, bins that expect fewer than
five samples are pooled, and the significance level is corrected for the number of tests that are run (Sidak).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import chi2

TESTS = 160
"""Upper bound of the number of chi-square tests in this folder."""
SIGNIFICANCE = 1.0 - (1.0 - 0.01) ** (1.0 / TESTS)
"""Level of a single test that gives all tests together a 1 % chance of a false alarm (seeds are fixed: none occurred)."""


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    """Probability of counts that differ at least as much; both have the same sum up to the quadrature's error."""
    counts, expected = np.ravel(counts).astype(np.float64), np.ravel(expected).astype(np.float64)
    order = np.argsort(expected)
    counts, expected = counts[order], expected[order]
    if np.any(counts[expected <= 0.0]):
        return 0.0
    # Pool the smallest bins until every bin expects five samples
    pooled = int(np.searchsorted(np.cumsum(expected), 5.0)) + 1
    pooled = max(pooled, int(np.searchsorted(expected, 5.0)))
    counts = np.append(counts[pooled:], counts[:pooled].sum())
    expected = np.append(expected[pooled:], expected[:pooled].sum())
    keep = expected > 0.0
    statistic = ((counts[keep] - expected[keep]) ** 2 / expected[keep]).sum()
    return float(chi2.sf(statistic, max(1, keep.sum() - 1)))


def assert_counts(counts: np.ndarray, expected: np.ndarray) -> None:
    """Assert that counts agree with their expectations."""
    p = p_value(counts, expected)
    assert p > SIGNIFICANCE, f"p = {p:.3g}: the samples do not follow the density"


def assert_directions(
    directions: np.ndarray,
    count: int,
    pdf: Callable[[np.ndarray], np.ndarray],
    *,
    bins: tuple[int, int] = (16, 24),
    nodes: int = 12,
    low: float = -1.0,
    axis: np.ndarray = (0.0, 0.0, 1.0),
    edges: np.ndarray | None = None,
) -> None:
    """Assert that directions follow a density on the sphere, and that the missing fraction follows its missing integral.

    Args:
        directions: Unit vectors, shape [n, 3], n <= count.
        count: Samples drawn, of which `count - n` gave no direction.
        pdf: The density [1/sr] at directions, shape [n, 3] to [n].
        bins: Bins in the cosine to `axis` and in azimuth.
        nodes: Quadrature nodes along each side of a bin.
        low: Smallest cosine; no direction may lie below.
        axis: Pole of the bins, a direction around which the density is high.
        edges: Edges of the bins in the cosine, instead of evenly spaced ones.
    """
    frame = _frame(np.asarray(axis, np.float64))
    local = directions.astype(np.float64) @ frame.T
    edges = np.linspace(low, 1.0, bins[0] + 1) if edges is None else np.asarray(edges)
    phi_edges = np.linspace(-np.pi, np.pi, bins[1] + 1)
    z = np.clip(local[:, 2], edges[0], 1.0)
    assert np.all(local[:, 2] >= edges[0] - 1e-6)
    counts, *_ = np.histogram2d(z, np.arctan2(local[:, 1], local[:, 0]), bins=(edges, phi_edges))

    x, w = np.polynomial.legendre.leggauss(nodes)
    x, w = 0.5 * (x + 1.0), 0.5 * w
    cos = edges[:-1, None] + np.diff(edges)[:, None] * x
    phi = phi_edges[:-1, None] + np.diff(phi_edges)[:, None] * x
    cos, phi = np.broadcast_arrays(cos[:, None, :, None], phi[None, :, None, :])
    sin = np.sqrt(np.maximum(0.0, 1.0 - cos**2))
    nodes_local = np.stack([sin * np.cos(phi), sin * np.sin(phi), cos], axis=-1).reshape(-1, 3)
    values = pdf((nodes_local @ frame).astype(np.float32)).astype(np.float64).reshape(cos.shape)
    areas = np.diff(edges)[:, None] * np.diff(phi_edges)[None, :]
    expected = count * areas * np.einsum("ijkl,k,l->ij", values, w, w)
    # Samples without a direction have a bin of their own
    expected = np.append(expected.ravel(), max(0.0, count - expected.sum()))
    assert_counts(np.append(counts.ravel(), count - len(directions)), expected)


def _frame(axis: np.ndarray) -> np.ndarray:
    """Rows of an orthonormal frame whose third axis is `axis`."""
    n = axis / np.linalg.norm(axis)
    s = np.cross(n, (0.0, 1.0, 0.0) if abs(n[1]) < 0.9 else (1.0, 0.0, 0.0))
    s /= np.linalg.norm(s)
    return np.stack([s, np.cross(n, s), n])
