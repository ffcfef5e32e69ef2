"""Cameras: the ray through a point of the film, and the distances of samples from a pixel's centre."""

import numpy as np
import pytest

from nrc_tracer.scene.model import Film, LookAt, Orthographic, Perspective, Rotate, Scale, Translate
from nrc_tracer.tracer.camera_records import camera_record, film_record
from tests.tracer import kernels
from tests.tracer.chi_square import assert_counts

EPS = float(np.finfo(np.float32).eps)
WIDTH, HEIGHT = 12, 8
POSE = (LookAt(origin=(3.0, -2.0, 5.0), target=(1.0, 1.0, -1.0), up=(0.1, 1.0, 0.3)),)


def rays(camera, film, pixel, u_film, u_lens=(0.5, 0.5)):
    """Origins, directions and (t_min, t_max)."""
    count = max(np.size(pixel), len(np.reshape(u_film, (-1, 2))), len(np.reshape(u_lens, (-1, 2))))
    o, d, t = (
        kernels.zeros(count, kernels.wp.vec3),
        kernels.zeros(count, kernels.wp.vec3),
        kernels.zeros(count, kernels.wp.vec2),
    )
    u_film, u_lens = (
        kernels.array(np.broadcast_to(np.asarray(u, np.float32), (count, 2)), kernels.wp.vec2) for u in (u_film, u_lens)
    )
    pixel = kernels.array(np.broadcast_to(np.int32(pixel), count), int)
    kernels.launch(
        kernels.camera_kernel,
        count,
        [camera_record(camera, film, np.zeros(3)), film_record(film), pixel, u_film, u_lens, o, d, t],
    )
    return o.numpy().astype(np.float64), d.numpy().astype(np.float64), t.numpy().astype(np.float64)


def corner_tangents(camera, film):
    """Tangents of the film's upper left corner, left and up (an untransformed camera looks along z, with x to the left)."""
    _, d, _ = rays(camera, film, 0, (0.0, 0.0))
    return d[0, 0] / d[0, 2], d[0, 1] / d[0, 2]


@pytest.mark.parametrize("size", [(12, 8), (8, 12), (9, 9)])
@pytest.mark.parametrize("axis", ["x", "y", "diagonal", "smaller", "larger"])
def test_field_of_view_spans_its_axis(axis, size):
    """The angle between opposite edges (or corners) along the named axis is the field of view, and pixels are square."""
    film = Film(width=size[0], height=size[1])
    left, up = corner_tangents(Perspective(fov=50.0, fov_axis=axis), film)
    half = {
        "x": left,
        "y": up,
        "diagonal": np.hypot(left, up),
        "smaller": min(left, up),
        "larger": max(left, up),
    }[axis]
    assert np.degrees(2.0 * np.arctan(half)) == pytest.approx(50.0, rel=4 * EPS)
    assert left / up == pytest.approx(size[0] / size[1], rel=4 * EPS)


def test_known_points_project_to_their_pixels():
    """Rays pass through four points if they go through the pixels at which a pinhole, by its closed form, sees the points."""
    film = Film(width=WIDTH, height=HEIGHT)
    camera = Perspective(to_world=POSE, fov=40.0, fov_axis="y")
    eye, target = np.array(POSE[0].origin), np.array(POSE[0].target)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, POSE[0].up)
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    scale = HEIGHT / 2.0 / np.tan(np.radians(20.0))
    for point in (target, target + 0.7 * right, target + 0.4 * up - 0.3 * right, eye + 2.0 * forward - 0.5 * up):
        v = point - eye
        x = WIDTH / 2.0 + scale * (v @ right) / (v @ forward)
        y = HEIGHT / 2.0 - scale * (v @ up) / (v @ forward)
        pixel = int(y) * WIDTH + int(x)
        o, d, _ = rays(camera, film, pixel, (x - int(x), y - int(y)))
        np.testing.assert_allclose(o[0], eye, rtol=EPS)
        # The film position is rounded by eps of the image's width
        np.testing.assert_allclose(d[0], v / np.linalg.norm(v), atol=8 * EPS)


def test_principal_point_offset_shifts_the_view():
    """With an offset (x, y), a pixel sees what was x widths to the right and y heights below it without an offset."""
    film = Film(width=WIDTH, height=HEIGHT)
    _, plain, _ = rays(Perspective(to_world=POSE), film, 5 + 3 + (2 + 2) * WIDTH, (0.5, 0.5))
    _, shifted, _ = rays(
        Perspective(to_world=POSE, principal_point_offset=(3 / WIDTH, 2 / HEIGHT)), film, 5 + 2 * WIDTH, (0.5, 0.5)
    )
    np.testing.assert_allclose(shifted, plain, atol=4 * EPS)


def test_near_and_far_are_planes():
    """Rays start on the plane at `near` and end on the plane at `far`, also at the image's corners."""
    film = Film(width=WIDTH, height=HEIGHT)
    for pixel in (0, WIDTH * HEIGHT - 1, WIDTH * HEIGHT // 2):
        o, d, t = rays(Perspective(fov=80.0, near=0.5, far=20.0), film, pixel, (0.3, 0.7))
        np.testing.assert_allclose((o + d * t[:, :1])[0, 2], 0.5, rtol=4 * EPS)
        np.testing.assert_allclose((o + d * t[:, 1:])[0, 2], 20.0, rtol=4 * EPS)


def test_thin_lens_is_sharp_at_the_focus_distance(rng):
    """Rays of one film point start evenly over the lens and meet where the pinhole's ray is at the focus distance."""
    film = Film(width=WIDTH, height=HEIGHT)
    count = 50_000
    u = kernels.uniform(rng, count, 2)
    camera = Perspective(fov=60.0, aperture_radius=0.3, focus_distance=7.0)
    o, d, _ = rays(camera, film, 3, (0.25, 0.75), u)
    np.testing.assert_array_equal(o[:, 2], 0.0)
    r2 = (o[:, :2] ** 2).sum(axis=1) / 0.09
    counts, *_ = np.histogram2d(r2, np.arctan2(o[:, 1], o[:, 0]), bins=(8, 16), range=[[0, 1 + 1e-6], [-np.pi, np.pi]])
    assert counts.sum() == count
    assert_counts(counts, np.full(counts.shape, count / counts.size))
    focus = o + d * (7.0 / d[:, 2:])
    _, pinhole, _ = rays(Perspective(fov=60.0), film, 3, (0.25, 0.75))
    # There, a direction rounded by eps is off by 7 eps / cos
    np.testing.assert_allclose(focus, np.broadcast_to(pinhole * 7.0 / pinhole[:, 2:], focus.shape), atol=7 * 8 * EPS)


def test_orthographic_rays_are_parallel_and_span_the_scale():
    """Rays run along z from a plane through the camera; the image spans [-2, 2] horizontally and keeps its aspect ratio."""
    film = Film(width=WIDTH, height=HEIGHT)
    camera = Orthographic(to_world=(Scale((2.0, 2.0, 1.0)), Translate((1.0, 2.0, 3.0))))
    o, d, _ = rays(camera, film, np.array([0, WIDTH * HEIGHT - 1]), [(0.0, 0.0), (1.0, 1.0)])
    np.testing.assert_allclose(o, [[3.0, 2.0 + 4.0 / 3.0, 3.0], [-1.0, 2.0 - 4.0 / 3.0, 3.0]], atol=8 * EPS)
    np.testing.assert_array_equal(d, np.broadcast_to([0.0, 0.0, 1.0], (2, 3)))


def test_scale_of_a_perspective_camera_does_not_matter():
    """Scaling a camera does not change the image; mirroring a camera mirrors it."""
    film = Film(width=WIDTH, height=HEIGHT)
    turn = Rotate(axis=(1.0, 1.0, 0.0), angle=30.0)
    _, plain, _ = rays(Perspective(to_world=(turn,)), film, 0, (0.2, 0.4))
    _, scaled, _ = rays(Perspective(to_world=(Scale((5.0, 2.0, 3.0)), turn)), film, 0, (0.2, 0.4))
    np.testing.assert_allclose(scaled, plain, atol=4 * EPS)
    _, d, _ = rays(Perspective(), film, 0, (0.2, 0.4))
    _, mirrored, _ = rays(Perspective(to_world=(Scale((-1.0, 1.0, 1.0)),)), film, 0, (0.2, 0.4))
    np.testing.assert_allclose(mirrored, d * [-1.0, 1.0, 1.0], atol=4 * EPS)


def test_crop_window_sees_its_part_of_the_film():
    """Pixel (x, y) of a crop window at (3, 2) is pixel (x + 3, y + 2) of the film."""
    camera = Perspective(to_world=POSE)
    _, whole, _ = rays(camera, Film(width=WIDTH, height=HEIGHT), 3 + 4 + (2 + 1) * WIDTH, (0.3, 0.6))
    _, cut, _ = rays(camera, Film(width=WIDTH, height=HEIGHT, crop=(3, 2, 6, 4)), 4 + 1 * 6, (0.3, 0.6))
    np.testing.assert_array_equal(whole, cut)


def offsets(film, u):
    out = kernels.zeros(len(u), float)
    kernels.launch(kernels.filter_kernel, len(u), [film_record(film), kernels.array(u, float), out])
    return out.numpy().astype(np.float64)


def truncated_gaussian_variance(sigma, radius):
    """Variance of a normal distribution cut off at +-radius."""
    from scipy.stats import truncnorm

    return truncnorm.var(-radius / sigma, radius / sigma, scale=sigma)


@pytest.mark.parametrize(
    ("name", "radius", "variance"),
    [
        ("box", None, 1.0 / 12.0),
        ("box", 2.0, 4.0 / 3.0),
        ("tent", None, 1.0 / 6.0),
        ("tent", 1.5, 1.5**2 / 6.0),
        ("gaussian", None, truncated_gaussian_variance(0.5, 2.0)),
        ("gaussian", 1.0, truncated_gaussian_variance(0.25, 1.0)),
    ],
)
def test_filter_footprint(name, radius, variance):
    """Offsets at evenly spaced random numbers have the filter's mean, variance and radius."""
    film = Film(filter=name, filter_radius=radius)
    limit = radius or {"box": 0.5, "tent": 1.0, "gaussian": 2.0}[name]
    x = offsets(film, ((np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.float32))
    assert np.all(np.diff(x) >= 0.0)
    assert np.abs(x).max() <= limit
    # Midpoints have an error of at most the curvature of the quantiles at the ends
    assert abs(x.mean()) < 1e-5 * limit
    assert x.var() == pytest.approx(variance, rel=1e-4)


def test_filter_is_finite_at_the_ends_of_the_interval():
    """The smallest and the largest random number give the ends of the filter."""
    for name in ("box", "tent", "gaussian"):
        x = offsets(Film(filter=name, filter_radius=1.0), np.float32([0.0, 1.0 - 2.0**-24]))
        np.testing.assert_allclose(x, [-1.0, 1.0], atol=0.01)
