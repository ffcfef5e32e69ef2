"""The features of a path vertex."""

import math

import numpy as np
import warp as wp

from nrc_tracer.cache.cache import MARGIN, RadianceCache
from nrc_tracer.cache.features import FEATURES, SceneBox, write_features
from tests.cache.small_cache import SMALL


@wp.kernel(enable_backward=False)
def written(
    box: SceneBox,
    p: wp.array[wp.vec3],
    wo: wp.array[wp.vec3],
    n: wp.array[wp.vec3],
    roughness: wp.array[float],
    diffuse: wp.array[wp.vec3],
    specular: wp.array[wp.vec3],
    features: wp.array2d[float],
):
    i = wp.tid()
    write_features(features, i, box, p[i], wo[i], n[i], roughness[i], diffuse[i], specular[i])


def _features(low, size, p, wo, n, roughness, diffuse, specular):
    box = SceneBox()
    box.low, box.scale = wp.vec3(*low), 1.0 / size
    count = len(p)
    vectors = [wp.array(np.asarray(v, np.float32), dtype=wp.vec3, device="cpu") for v in (p, wo, n)]
    rough = wp.array(np.asarray(roughness, np.float32), dtype=float, device="cpu")
    colors = [wp.array(np.asarray(v, np.float32), dtype=wp.vec3, device="cpu") for v in (diffuse, specular)]
    out = wp.full((count, FEATURES), np.nan, dtype=float, device="cpu")
    wp.launch(written, dim=count, inputs=[box, *vectors, rough, *colors, out], device="cpu")
    return out.numpy()


def _directions(rng, count):
    v = rng.normal(size=(count, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_layout(rng):
    """The order is position, direction, normal, roughness, diffuse and specular reflectance; all are in [0, 1]."""
    count = 2000
    low, size = np.array([-3.0, 1.0, 20.0]), 7.0
    p = low + size * rng.uniform(0.0, 1.0, (count, 3))
    wo, n = _directions(rng, count), _directions(rng, count)
    roughness = rng.uniform(0.0, 1.0, count)
    diffuse, specular = rng.uniform(0.0, 0.5, (2, count, 3))
    got = _features(low, size, p, wo, n, roughness, diffuse, specular)
    assert got.shape == (count, 14)
    assert np.all((got >= 0.0) & (got <= 1.0))
    np.testing.assert_allclose(got[:, 0:3], (p - low) / size, atol=1e-6)  # float32 rounding of 27, divided by 7
    np.testing.assert_allclose(got[:, 7], 1.0 - np.exp(-roughness), atol=1e-6)
    np.testing.assert_allclose(got[:, 8:11], diffuse, atol=1e-7)
    np.testing.assert_allclose(got[:, 11:14], specular, atol=1e-7)
    for direction, at in ((wo, 3), (n, 5)):
        # Convert the angles back to a direction, which must agree whatever formula made them
        theta, phi = math.pi * got[:, at].astype(float), 2.0 * math.pi * (got[:, at + 1].astype(float) - 0.5)
        back = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
        np.testing.assert_allclose(back, direction, atol=2e-4)  # near the poles acos loses half of the digits


def test_angles_of_the_axes():
    """The angles are acos(z) / pi and atan2(y, x) / 2 pi + 1/2; poles have an azimuth, too."""
    axes = np.array([(1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (0, 0, 1.0000001)], float)
    zeros = np.zeros((len(axes), 3))
    got = _features((0, 0, 0), 1.0, zeros, axes, axes[::-1], np.zeros(len(axes)), zeros, zeros)
    expected = np.array([(0.5, 0.5), (0.5, 0.75), (0.5, 1.0), (0.5, 0.25), (0.0, 0.5), (1.0, 0.5), (0.0, 0.5)])
    np.testing.assert_allclose(got[:, 3:5], expected, atol=1e-6)
    np.testing.assert_allclose(got[:, 5:7], expected[::-1], atol=1e-6)


def test_positions_outside_the_cube_are_clamped_to_its_border():
    """Each coordinate is clamped on its own."""
    low, size = (1.0, 2.0, 3.0), 2.0
    p = np.array([(0.0, 3.0, 4.0), (2.0, 1e30, 3.5), (2.5, 2.5, -7.0)])
    zeros = np.zeros((3, 3))
    up = np.tile([0.0, 0.0, 1.0], (3, 1))
    got = _features(low, size, p, up, up, np.zeros(3), zeros, zeros)[:, :3]
    np.testing.assert_allclose(got, [(0.0, 0.5, 0.5), (0.5, 1.0, 0.25), (0.75, 0.25, 0.0)], atol=1e-7)


def test_the_cube_holds_the_scene_with_a_margin():
    """A cube is centred on the box, with a margin of 1 % of the largest extent on each side; a single point has a cube, too."""
    cache = RadianceCache(config=SMALL)
    low, high = np.array([-1.0, 0.0, 5.0]), np.array([3.0, 1.0, 5.5])
    cache.begin(low, high, device="cpu", threads=1, seed=0)
    assert MARGIN == 0.01
    np.testing.assert_allclose(cache.size, 4.08)
    np.testing.assert_allclose(cache.low + 0.5 * cache.size, 0.5 * (low + high))
    assert np.all(cache.low <= low - 0.039)
    assert np.all(cache.low + cache.size >= high + 0.039)
    point = RadianceCache(config=SMALL)
    point.begin(low, low, device="cpu", threads=1, seed=0)
    assert point.size > 0.0
    assert np.all((point.low < low) & (low < point.low + point.size))
