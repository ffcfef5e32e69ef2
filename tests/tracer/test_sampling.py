"""Mappings from the unit square, and frames."""

import numpy as np
import pytest

from tests.tracer import kernels
from tests.tracer.chi_square import assert_counts, assert_directions

COUNT = 200_000
EPS = np.finfo(np.float32).eps


def test_cosine_hemisphere_follows_its_density(rng):
    """Directions follow cos / pi, and none lies below the horizon."""
    w = kernels.map_square(kernels.COSINE, kernels.uniform(rng, COUNT, 2))
    assert_directions(w, COUNT, lambda d: np.maximum(d[:, 2], 0.0) / np.pi)
    assert w[:, 2].min() >= 0.0


def test_uniform_sphere_follows_its_density(rng):
    """Directions are uniform on the sphere."""
    w = kernels.map_square(kernels.SPHERE, kernels.uniform(rng, COUNT, 2))
    assert_directions(w, COUNT, lambda d: np.full(len(d), 0.25 / np.pi))


def test_concentric_disk_is_uniform(rng):
    """Equal areas of the disk, by radius squared and angle, contain equally many points."""
    p = kernels.map_square(2, kernels.uniform(rng, COUNT, 2)).astype(np.float64)
    r2 = (p**2).sum(axis=1)
    counts, *_ = np.histogram2d(r2, np.arctan2(p[:, 1], p[:, 0]), bins=(20, 40), range=[[0, 1 + 1e-6], [-np.pi, np.pi]])
    assert counts.sum() == COUNT
    assert_counts(counts, np.full(counts.shape, COUNT / counts.size))


@pytest.mark.parametrize("kind", [kernels.COSINE, kernels.SPHERE, 2])
def test_corners_of_the_square(kind):
    """Corners, edges and the centre map to finite points of the disk and to unit vectors."""
    side = np.array([0.0, 0.25, 0.5, 0.75, 1.0 - 2.0**-24], np.float32)
    p = kernels.map_square(kind, np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)).astype(np.float64)
    length = np.linalg.norm(p, axis=1)
    # Three roundings in the mapping and three in the length
    assert np.all(length <= 1.0 + 3 * EPS)
    if kind != 2:
        # z = sqrt(1 - r^2) turns an error e of r into an error of the length of the same order
        np.testing.assert_allclose(length, 1.0, atol=3 * EPS)


def test_concentric_disk_matches_shirley_and_chiu(rng):
    """The polynomials for sine and cosine agree with the closed form up to rounding."""
    u = kernels.uniform(rng, 10_000, 2)
    x, y = (2.0 * u.astype(np.float64) - 1.0).T
    wide = np.abs(x) > np.abs(y)
    r = np.where(wide, x, y)
    a = 0.25 * np.pi * np.where(wide, y, x) / r
    expected = np.where(
        wide[:, None], np.stack([r * np.cos(a), r * np.sin(a)], 1), np.stack([r * np.sin(a), r * np.cos(a)], 1)
    )
    np.testing.assert_allclose(kernels.map_square(2, u)[:, :2], expected, atol=3 * EPS)


def test_frames_are_orthonormal_and_right_handed(rng):
    """Frames around random normals, the axes, and normals close to -z are orthonormal and right-handed up to rounding."""
    n = np.concatenate(
        [rng.normal(size=(2000, 3)), np.eye(3), -np.eye(3), [[1e-4, 1e-5, -1.0], [1e-9, 0, -1], [1, 1, -1e-8]]]
    )
    n = (n / np.linalg.norm(n, axis=1, keepdims=True)).astype(np.float32)
    out = kernels.zeros((len(n), 3), kernels.wp.vec3)
    kernels.launch(kernels.frame_kernel, len(n), [kernels.array(n, kernels.wp.vec3), out])
    frames = out.numpy().astype(np.float64)
    np.testing.assert_array_equal(frames[:, 2], n)
    gram = frames @ frames.transpose(0, 2, 1)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=8 * EPS)
    np.testing.assert_allclose(np.linalg.det(frames), 1.0, atol=16 * EPS)
