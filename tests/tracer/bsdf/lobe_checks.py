"""Requirements on every lobe: sampling follows the density, and sampling and evaluation agree."""

from __future__ import annotations

import numpy as np

from nrc_tracer.tracer.bsdf.lobe import Lobe
from tests.tracer import kernels
from tests.tracer.chi_square import assert_directions

COUNT = 120_000
EPS = float(np.finfo(np.float32).eps)


def assert_sampling_follows_density(
    lobe: Lobe,
    wo: np.ndarray,
    rng: np.random.Generator,
    table: np.ndarray = kernels.NO_TABLE,
    *,
    axis=(0, 0, 1),
    **bins,
) -> None:
    """Chi-square test of the smooth part. Delta samples count as missing, as they do in the density."""
    s = kernels.sample_lobe_many(lobe, wo, COUNT, rng, table)
    smooth = (s.pdf > 0.0) & ~s.delta
    assert_directions(
        s.wi[smooth], COUNT, lambda wi: kernels.evaluate_lobe_many(lobe, wo, wi, table)[:, 3], axis=axis, **bins
    )


def assert_sample_agrees_with_evaluation(
    lobe: Lobe,
    wo: np.ndarray,
    rng: np.random.Generator,
    table: np.ndarray = kernels.NO_TABLE,
    *,
    alpha: float = 1.0,
    contrast: float = 1.0,
) -> None:
    """pdf and weight * pdf of samples equal the results of evaluation for their directions.

    Evaluation recomputes the microfacet normal m from rounded directions, with an error of a few eps times `contrast` (how much
    the sum of the directions cancels: 1 for reflection, 1 / |eta - 1| for refraction). The density changes by the factor
    d ln D / dm <= 4 / (alpha cos^2) for GGX, and slope / alpha times as much for Beckmann, whose slopes reach 4 alpha;
    directions are drawn with errors of a few eps / cos. `1 / cos^2` of the normal and of both directions is taken per sample.
    """
    s = kernels.sample_lobe_many(lobe, wo, 20_000, rng, table)
    smooth = (s.pdf > 0.0) & ~s.delta
    wi = s.wi[smooth]
    value = kernels.evaluate_lobe_many(lobe, wo, wi, table).astype(np.float64)
    eta = s.eta[smooth].astype(np.float64)
    refracted = np.sign(wi[:, 2]) != np.sign(wo[2])
    m = wo + wi * np.where(refracted, eta, 1.0)[:, None]
    m /= np.linalg.norm(m, axis=1, keepdims=True)
    steep = 1.0 / np.minimum(np.minimum(m[:, 2] ** 2, np.abs(wi[:, 2])), abs(wo[2]))
    tolerance = 32.0 * EPS / alpha * contrast * steep
    pdf = s.pdf[smooth].astype(np.float64)
    error = np.abs(value[:, 3] / pdf - 1.0)
    # Where rounding moves a direction across an edge of the support, evaluation gives zero
    assert np.mean(error > tolerance) <= 1e-4, f"pdf: {np.max(error / tolerance):.3g} times the tolerance"
    weighted = s.weight[smooth].astype(np.float64) * pdf[:, None]
    error = np.abs(value[:, :3] - weighted).max(axis=1) / np.maximum(weighted.max(axis=1), 1e-30)
    assert np.mean(error > tolerance) <= 1e-4, f"f cos: {np.max(error / tolerance):.3g} times the tolerance"


def mean_weight(
    lobe: Lobe, wo: np.ndarray, rng: np.random.Generator, table: np.ndarray = kernels.NO_TABLE, count: int = COUNT
) -> tuple[np.ndarray, np.ndarray, kernels.LobeSamples]:
    """The albedo by sampling, its standard error, and the samples."""
    s = kernels.sample_lobe_many(lobe, wo, count, rng, table)
    weight = np.where((s.pdf > 0.0)[:, None], s.weight, 0.0).astype(np.float64)
    return weight.mean(axis=0), weight.std(axis=0) / np.sqrt(count), s


def assert_reciprocal(
    lobe: Lobe, rng: np.random.Generator, table: np.ndarray = kernels.NO_TABLE, alpha: float = 1.0
) -> None:
    """Reflection satisfies f(a, b) = f(b, a) for random pairs of directions at least 3 degrees above the horizon."""
    a, b = (np.column_stack([rng.normal(size=(5000, 2)), rng.uniform(0.1, 2.0, 5000)]) for _ in range(2))
    a, b = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (a, b))
    high = (a[:, 2] > 0.05) & (b[:, 2] > 0.05)
    a, b = a[high].astype(np.float32), b[high].astype(np.float32)
    forth = kernels.evaluate_lobe_many(lobe, a, b, table)[:, :3].astype(np.float64) / b[:, 2:]
    back = kernels.evaluate_lobe_many(lobe, b, a, table)[:, :3].astype(np.float64) / a[:, 2:]
    assert np.mean(forth > 1e-6) > 0.1
    np.testing.assert_allclose(forth, back, rtol=32.0 * EPS / alpha / 0.05, atol=1e-12)
