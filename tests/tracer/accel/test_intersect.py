"""Intersections: Embree and Warp's BVH compared with each other and with brute force, and spheres compared with float64."""

import numpy as np
import pytest

from nrc_tracer.scene.model import Mesh, Sphere, TriangleMesh
from tests.tracer import kernels
from tests.tracer.tiny_scenes import ACCELS, needs_embree, on_device, scene, triangles

EPS = float(np.finfo(np.float32).eps)


def unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def hits(on, o, d, t_min=0.0, t_max=1e30):
    """(t, u, v), index, whether the hit is a sphere, and whether anything blocks the ray up to t_max."""
    count = len(o)
    tuv, index, blocked = (
        kernels.zeros(count, kernels.wp.vec3),
        kernels.zeros(count, kernels.wp.vec2i),
        kernels.zeros(count, int),
    )
    limits = np.empty((count, 2), np.float32)
    limits[:, 0], limits[:, 1] = t_min, t_max
    inputs = [kernels.array(a, kernels.wp.vec3) for a in (o.astype(np.float32), d.astype(np.float32))]
    kernels.launch(
        kernels.intersect_kernel,
        count,
        [on.record, *inputs, kernels.array(limits, kernels.wp.vec2), tuv, index, blocked],
    )
    index = index.numpy()
    return tuv.numpy().astype(np.float64), index[:, 0], index[:, 1].astype(bool), blocked.numpy().astype(bool)


@pytest.fixture(scope="module")
def terrain():
    """A rough height field of 12,800 triangles over [0, 1]^2, and the corners of its triangles, shape [n, 3, 3]."""
    rng = np.random.default_rng(5)
    n = 81
    x, y = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    z = rng.random((n, n)) * 0.05
    positions = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32)
    low = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    indices = np.concatenate(
        [np.stack([low, low + 1, low + n + 1], 1), np.stack([low, low + n + 1, low + n], 1)]
    ).astype(np.int32)
    mesh = TriangleMesh(positions, indices)
    described = scene(Mesh(file="terrain"), meshes={"terrain": mesh})
    return described, positions[indices].astype(np.float64)


def random_rays(rng, count):
    o = rng.uniform(-0.2, 1.2, (count, 3)) * [1, 1, 1] + [0, 0, rng.choice([0.0, 0.3])]
    return o.astype(np.float32), unit(rng.uniform(0, 1, (count, 3)) * [1, 1, 0.05] - o).astype(np.float32)


@needs_embree
def test_embree_and_warp_agree(terrain, rng):
    """For 20,000 rays both find the same triangle at the same distance, except for ties at edges."""
    described, _ = terrain
    o, d = random_rays(rng, 20_000)
    (a, index_a, _, blocked_a), (b, index_b, _, blocked_b) = (
        hits(on_device(described, k), o, d) for k in ("embree", "warp")
    )
    hit = (a[:, 0] > 0.0) & (b[:, 0] > 0.0)
    assert hit.mean() > 0.5
    # Rounding decides at an edge between triangles or at a rim, on the order of eps / triangle size, 1e-5 per ray
    assert np.sum((a[:, 0] > 0.0) != (b[:, 0] > 0.0)) <= 5
    same = hit & (index_a == index_b)
    assert np.sum(hit & ~same) <= 10
    np.testing.assert_allclose(a[hit & ~same, 0], b[hit & ~same, 0], rtol=1e-4)
    # t has an error of eps over the sine of the angle of incidence
    error = np.abs(a[same, 0] - b[same, 0])
    assert np.quantile(error, 0.999) < 1e-5
    assert np.quantile(np.abs(a[same] - b[same]), 0.999) < 1e-3
    assert np.sum(blocked_a != blocked_b) <= 5


@ACCELS
def test_hits_agree_with_brute_force(terrain, accel, rng):
    """Distance, triangle and barycentrics are those of the nearest of all 12,800 triangles, found in float64."""
    described, corners = terrain
    o, d = random_rays(rng, 200)
    p0, e1, e2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    tuv, index, _, blocked = hits(on_device(described, accel), o, d)
    unclear = 0
    for i, (origin, direction) in enumerate(zip(o.astype(np.float64), d.astype(np.float64), strict=True)):
        # Moeller and Trumbore, 1997
        h = np.cross(direction, e2)
        a = (e1 * h).sum(axis=1)
        s = origin - p0
        u = (s * h).sum(axis=1) / a
        q = np.cross(s, e1)
        v, t = (q @ direction) / a, (q * e2).sum(axis=1) / a
        edge = np.minimum(np.minimum(u, v), 1.0 - u - v)
        inside = (edge >= 0.0) & (t > 0.0)
        first = np.where(inside, t, np.inf).argmin()
        nearest = t[first] if inside.any() else np.inf
        if np.any((np.abs(edge) < 1e-4) & (t > 0.0) & (t <= nearest * 1.0001)):
            unclear += 1
            continue
        assert blocked[i] == inside.any()
        if not inside.any():
            assert tuv[i, 0] < 0.0
            continue
        assert index[i] == first
        # At the triangle the ray is off by a few eps over the sine of incidence, and barycentrics by that over the triangle's
        # size
        sine = abs(direction @ unit(np.cross(e1[first], e2[first])))
        error = 8 * EPS / sine
        assert abs(tuv[i, 0] - nearest) < error
        assert np.abs(tuv[i, 1:] - (u[first], v[first])).max() < error * 80
    assert unclear < 20


@ACCELS
def test_limits_of_the_ray(accel):
    """Only hits strictly between the limits count, for triangles and spheres before, within and beyond them."""
    wall = triangles([[-9, -9, 2], [9, -9, 2], [0, 9, 2]], [[0, 1, 2]])
    on = on_device(scene(wall, Sphere(center=(0, 0, 5), radius=1.0)), accel)
    o, d = np.zeros((6, 3)), np.broadcast_to([0.0, 0.0, 1.0], (6, 3))
    t_min, t_max = np.array([0, 2.1, 4.1, 6.1, 0, 2.1]), np.array([9, 9, 9, 9, 1.9, 3.9])
    tuv, _, is_sphere, _ = hits(on, o, d, t_min, t_max)
    np.testing.assert_allclose(tuv[:, 0], [2.0, 4.0, 6.0, -1.0, -1.0, -1.0], rtol=4 * EPS)
    np.testing.assert_array_equal(is_sphere, [False, True, True, False, False, False])
    *_, blocked = hits(on, o, d, 0.0, np.array([1.9, 2.1, 9, 9, 9, 9]))
    np.testing.assert_array_equal(blocked, [False, True, True, True, True, True])


@ACCELS
def test_occlusion_takes_rays_of_any_length(accel):
    """If the direction is not a unit vector, the limit counts multiples of its length, for triangles and spheres alike."""
    wall = triangles([[-9, -9, 2], [9, -9, 2], [0, 9, 2]], [[0, 1, 2]])
    ball = Sphere(center=(0, 0, -5), radius=1.0)
    on = on_device(scene(wall, ball), accel)
    d = np.array([[0, 0, 4.0], [0, 0, 4.0], [0, 0, -8.0], [0, 0, -8.0], [0, 0, -0.5], [0, 0, -0.5]])
    *_, blocked = hits(on, np.zeros((6, 3)), d, 0.0, np.array([0.49, 0.51, 0.49, 0.51, 7.9, 8.1]))
    np.testing.assert_array_equal(blocked, [False, True, False, True, False, True])


def exact_sphere(center, radius, o, d):
    """Both intersections in float64, NaN for rays that miss."""
    f = o - center
    b = -(f * d).sum(axis=1)
    disc = radius**2 - ((f + d * b[:, None]) ** 2).sum(axis=1)
    root = np.sqrt(np.where(disc >= 0.0, disc, np.nan))
    return b - root, b + root


@pytest.mark.parametrize(
    ("distance", "radius"), [(3.0, 1.0), (1000.0, 1.0), (1e5, 0.5), (0.3, 1.0), (0.999, 1.0), (2e4, 1e4)]
)
def test_spheres_agree_with_float64(distance, radius, rng):
    """First intersections from outside and inside, near and far, are correct to rounding relative to distance and radius."""
    center = np.array([0.3, -0.2, 0.5])
    on = on_device(scene(Sphere(center=tuple(center), radius=radius)))
    o = (center + unit(rng.normal(size=(4000, 3))) * distance).astype(np.float32).astype(np.float64)
    aim = center + unit(rng.normal(size=(4000, 3))) * radius * rng.uniform(0, 1.2, (4000, 1))
    d = unit(aim - o).astype(np.float32).astype(np.float64)
    d64 = d / np.linalg.norm(d, axis=1, keepdims=True)
    near, far = exact_sphere(center.astype(np.float32).astype(np.float64), float(np.float32(radius)), o, d64)
    expected = np.where(near > 0.0, near, far)
    expected = np.where(expected > 0.0, expected, -1.0)
    tuv, _, is_sphere, blocked = hits(on, o, d)
    scale = distance + radius
    # Leave out grazing rays, whose closest approach equals the radius to within rounding
    closest = np.linalg.norm((o - center) + d64 * -((o - center) * d64).sum(axis=1, keepdims=True), axis=1)
    clear = np.abs(closest - radius) > 0.01 * radius + 16 * EPS * scale
    found = is_sphere & (tuv[:, 0] > 0.0)
    np.testing.assert_array_equal(found[clear], np.isfinite(near[clear]) & (expected[clear] > 0.0))
    both = clear & found
    assert both.sum() > 1000
    # Half the chord is sqrt(r^2 - closest^2); the 1 % margin keeps the squared length above 0.02 r^2
    np.testing.assert_allclose(tuv[both, 0], expected[both], atol=16 * EPS * scale / 0.14)
    np.testing.assert_array_equal(blocked[clear], found[clear])


@pytest.mark.parametrize("count", [12, 300])
def test_nearest_of_many_spheres(count, rng):
    """Among random spheres, some inside others, the nearest hit is found both by testing all of them and by the tree."""
    centers, radii = rng.uniform(-3, 3, (count, 3)), rng.uniform(0.05, 0.6, count)
    on = on_device(
        scene(*[Sphere(center=tuple(c), radius=float(r)) for c, r in zip(centers.tolist(), radii, strict=True)])
    )
    o, d = rng.uniform(-4, 4, (2000, 3)).astype(np.float32), unit(rng.normal(size=(2000, 3))).astype(np.float32)
    tuv, index, _, _ = hits(on, o, d)
    best, which = np.full(2000, np.inf), np.full(2000, -1)
    for i, (c, r) in enumerate(zip(centers, radii, strict=True)):
        with np.errstate(invalid="ignore"):
            near, far = exact_sphere(c, r, o.astype(np.float64), d.astype(np.float64))
            t = np.where(near > 0.0, near, np.where(far > 0.0, far, np.inf))
        closer = np.nan_to_num(t, nan=np.inf) < best
        best[closer], which[closer] = t[closer], i
    # A few grazing rays may differ by rounding
    assert np.mean(index[np.isfinite(best)] == which[np.isfinite(best)]) > 0.998
    assert np.mean((tuv[:, 0] > 0.0) == np.isfinite(best)) > 0.998


def test_axis_parallel_rays_hit_spheres():
    """Rays along the axes, with zeros of both signs in their directions, hit a sphere off-centre and in its extreme planes."""
    on = on_device(scene(Sphere(radius=1.0)))
    d = np.float32([[1, 0, 0], [-1, -0.0, 0], [0, 1, -0.0], [0, -1, 0], [0, 0, 1], [-0.0, 0, -1]])
    for offset in (0.0, 0.5):
        side = np.roll(d, 1, axis=1) * offset
        tuv, *_ = hits(on, -3.0 * d + side, d)
        np.testing.assert_allclose(tuv[:, 0], 3.0 - np.sqrt(1.0 - offset**2), rtol=4 * EPS)


@ACCELS
def test_nothing_to_hit(accel):
    """Rays hit nothing in an empty scene, a mesh without triangles, or degenerate triangles."""
    empty = TriangleMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    degenerate = triangles([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2], [0, 0, 0], [1, 1, 2]])
    for described in (scene(), scene(Mesh(file="empty"), meshes={"empty": empty}), scene(degenerate)):
        tuv, _, _, blocked = hits(
            on_device(described, accel), np.float32([[0.5, 0, 1], [0.5, 0.1, 1]]), np.float32([[0, 0, -1]] * 2)
        )
        assert np.all(tuv[:, 0] < 0.0)
        assert not blocked.any()
