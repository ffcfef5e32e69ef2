"""Sampling of directions to lights, and the density with which the path tracer weights lights that it hits."""

import numpy as np
import pytest

from nrc_tracer.scene.model import (
    Bitmap,
    ConstantLight,
    DirectionalLight,
    LookAt,
    PointLight,
    Rotate,
    Sphere,
    SpotLight,
    Translate,
)
from nrc_tracer.tracer.interaction import DISTANCE_ERROR
from tests.tracer import kernels
from tests.tracer.chi_square import assert_counts, assert_directions
from tests.tracer.tiny_scenes import on_device, scene, triangles

COUNT = 100_000
EPS = float(np.finfo(np.float32).eps)


def sample(on, p, rng, count=COUNT, n=(0.0, 0.0, 0.0)):
    """Directions, radiance, points and (pdf, delta, distant) of light samples from `p`, for the side of `n` if it is not 0."""
    wi, radiance, at, rest = (kernels.zeros(count, kernels.wp.vec3) for _ in range(4))
    u_light = kernels.array(kernels.uniform(rng, count, 2), kernels.wp.vec2)
    u = kernels.array(kernels.uniform(rng, count, 2), kernels.wp.vec2)
    inputs = [
        on.record,
        kernels.wp.vec3(*map(float, p)),
        kernels.wp.vec3(*map(float, n)),
        u_light,
        u,
        wi,
        radiance,
        at,
        rest,
    ]
    kernels.launch(kernels.sample_light_kernel, count, inputs)
    return tuple(a.numpy() for a in (wi, radiance, at, rest))


def emission(on, p, w, n=(0.0, 0.0, 0.0)):
    """(radiance, density) along directions."""
    out = kernels.zeros(len(w), kernels.wp.vec4)
    p, n = (kernels.wp.vec3(*map(float, v)) for v in (p, n))
    kernels.launch(kernels.emission_kernel, len(w), [on.record, p, n, kernels.array(w, kernels.wp.vec3), out])
    return out.numpy()


def assert_follows_density(on, p, rng, axis, count=COUNT, **bins):
    """Assert that a scene's light samples from one point follow their density, by a chi-square test."""
    wi, _, _, rest = sample(on, p, rng, count)
    assert_directions(wi[rest[:, 0] > 0.0], count, lambda w: emission(on, p, w)[:, 3], axis=axis, **bins)


def assert_samples_agree(on, p, rng, tolerance):
    """Assert that density and radiance of most samples are those of a ray that hits the light there."""
    wi, radiance, _, rest = sample(on, p, rng, 20_000)
    hit = rest[:, 0] > 0.0
    seen = emission(on, p, wi[hit])
    # Rays through the rim of a light may miss it because of rounding
    found = seen[:, 3] > 0.0
    assert np.mean(~found) < 1e-3
    np.testing.assert_allclose(seen[found, 3], rest[hit, 0][found], rtol=tolerance)
    np.testing.assert_allclose(seen[found, :3], radiance[hit][found], rtol=tolerance)


TRIANGLE = triangles([[-1, -0.5, 2], [1, -0.3, 2.5], [0.2, 1, 1.5]], [[0, 2, 1]], emission=(1.0, 2.0, 3.0))


@pytest.mark.parametrize("p", [(0.0, 0.0, 0.0), (1.5, 1.0, 1.0)])
def test_triangle(p, rng):
    """Directions to a triangle follow their density, also at a slant; density and radiance agree with a hit."""
    on = on_device(scene(TRIANGLE))
    to_corners = np.array(TRIANGLE.positions) - p
    axis = to_corners.mean(axis=0)
    low = (to_corners @ axis / np.linalg.norm(to_corners, axis=1)).min() / np.linalg.norm(axis) - 1e-3
    # The edges of the triangle are steps for the quadrature: small bins and few samples keep its error below the statistical
    # one
    assert_follows_density(on, p, rng, axis, count=20_000, low=low, bins=(24, 32), nodes=40)
    # d^2 / cos: the cosine is rounded by eps, and exceeds 0.05 here
    assert_samples_agree(on, p, rng, 100 * EPS)


def test_vertex_normals_say_which_side_of_a_triangle_shines(rng):
    """Where vertex normals oppose the winding, light is emitted on their side, in sampling and in hits alike."""
    turned = triangles(
        TRIANGLE.positions, TRIANGLE.indices, face_normals=False, normals=((0.1, 0.0, 1.0),) * 3, emission=2.0
    )
    on = on_device(scene(turned))
    *_, rest = sample(on, (0.0, 0.0, 0.0), rng, 100)
    assert not rest[:, 0].any()
    assert_samples_agree(on, (0.0, 0.0, 5.0), rng, 100 * EPS)


def test_textured_lights(rng):
    """The texture of a light is read at the same place by sampling and by hits, on a mesh and on a rotated sphere."""
    pixels = rng.random((4, 8, 3)).astype(np.float32)
    textures, images = {"glow": Bitmap(file="f")}, {"f": pixels}
    mesh = triangles(TRIANGLE.positions, TRIANGLE.indices, uvs=((0, 0), (0.9, 0.1), (0.2, 0.8)), emission="glow")
    ball = Sphere(to_world=(Rotate(axis=(1, 2, 3), angle=50.0), Translate((0, 0, 3.0))), emission="glow")
    for shape in (mesh, ball):
        on = on_device(scene(shape, textures=textures, images=images))
        wi, radiance, _, rest = sample(on, (0, 0, 0), rng, 20_000)
        hit = rest[:, 0] > 0.0
        seen = emission(on, (0, 0, 0), wi[hit])
        found = seen[:, 3] > 0.0
        assert np.ptp(radiance[hit]) > 0.3
        # uv has an error of eps over the cosine at grazing incidence, where the limb of the sphere costs half of the digits
        error = np.abs(seen[found, :3] - radiance[hit][found]).max(axis=1)
        assert np.quantile(error, 0.999) < 0.02
        assert np.median(error) < 1e-5


def test_triangle_from_behind(rng):
    """No light arrives behind a one-sided emitter."""
    on = on_device(scene(TRIANGLE))
    *_, rest = sample(on, (0.0, 0.0, 5.0), rng, 1000)
    assert not rest[:, 0].any()


@pytest.mark.parametrize("distance", [1.001, 1.5, 10.0, 1000.0])
def test_sphere_from_outside(distance, rng):
    """Directions fill the cone subtended by a sphere uniformly, near it and far away."""
    on = on_device(scene(Sphere(center=(1.0, 2.0, 3.0), radius=2.0, emission=1.5)))
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    p = np.array([1.0, 2.0, 3.0]) - axis * 2.0 * distance
    wi, radiance, at, rest = sample(on, p, rng)
    p32 = p.astype(np.float32).astype(np.float64)
    to_center = np.array([1.0, 2.0, 3.0]) - p32
    d2 = to_center @ to_center
    one_minus_cos = 1.0 - np.sqrt(1.0 - 4.0 / d2) if d2 < 1e4 else 2.0 / d2
    # p is rounded by eps of its coordinates, which shifts 1 - 4 / d^2 near the sphere
    slack = 1e-6 + 8 * EPS / max(distance - 1.0, EPS) if distance < 2.0 else 1e-5
    np.testing.assert_allclose(rest[:, 0], 1.0 / (2.0 * np.pi * one_minus_cos), rtol=slack)
    np.testing.assert_array_equal(radiance, np.float32(1.5))
    # Uniform in the cone: the fractions of 1 - cos and of the azimuth are uniform
    unit = to_center / np.sqrt(d2)
    s = np.cross(unit, (0.0, 1.0, 0.0))
    s /= np.linalg.norm(s)
    local = wi.astype(np.float64) @ np.stack([s, np.cross(unit, s), unit]).T
    sine2 = local[:, 0] ** 2 + local[:, 1] ** 2
    share = sine2 / (1.0 + np.sqrt(np.maximum(0.0, 1.0 - sine2))) / one_minus_cos
    counts, *_ = np.histogram2d(
        np.clip(share, 0, 1), np.arctan2(local[:, 1], local[:, 0]), bins=(16, 16), range=[[0, 1], [-np.pi, np.pi]]
    )
    assert share.max() < 1.0 + 1e-3
    assert_counts(counts, np.full(counts.shape, COUNT / 256))
    # The points are on the near side of the sphere, moved off it by the rounding of its distance
    moved = np.sqrt(3.0) * DISTANCE_ERROR * np.sqrt(d2)
    error = np.abs(np.linalg.norm(at - np.float64([1, 2, 3]), axis=1) - 2.0)
    assert error.max() < 2e-5 + moved
    assert np.mean(np.einsum("ij,ij->i", at - np.float64([1, 2, 3]), wi) > 2e-4 + moved) < 1e-3


@pytest.mark.parametrize("distance", [1.001, 3.0, 50.0])
def test_sphere_from_outside_agrees_with_hits(distance, rng):
    """Density and radiance of samples are those of rays that hit the sphere."""
    on = on_device(scene(Sphere(center=(1.0, 2.0, 3.0), radius=2.0, emission=1.5)))
    assert_samples_agree(on, (1.0, 2.0, 3.0 - 2.0 * distance), rng, 4 * EPS)


@pytest.mark.parametrize("share", [0.0, 0.6, 0.95])
def test_sphere_from_inside(share, rng):
    """Inside a sphere that emits inwards directions follow their density, from the centre to near the wall."""
    on = on_device(scene(Sphere(center=(1.0, 2.0, 3.0), radius=2.0, emission=1.0, flip_normals=True)))
    p = (1.0, 2.0, 3.0 + 2.0 * share)
    # Near the wall the density peaks towards it: use bins of equal distance to the wall
    edges = -1.0 + 2.0 * np.linspace(0.0, 1.0, 25) if share < 0.9 else 1.0 - 2.0 * np.linspace(1.0, 0.0, 25) ** 2
    assert_follows_density(on, p, rng, (0.0, 0.0, 1.0), edges=edges)
    assert_samples_agree(on, p, rng, 1e-4)


def test_a_sphere_is_dark_on_its_other_side(rng):
    """No direction is sampled inside a sphere that emits outwards, nor outside one that emits inwards."""
    for flip, p in ((False, (0.0, 0.3, 0.0)), (True, (0.0, 3.0, 0.0))):
        on = on_device(scene(Sphere(emission=1.0, flip_normals=flip)))
        *_, rest = sample(on, p, rng, 1000)
        assert not rest[:, 0].any()
        assert not emission(on, p, np.float32([[0, -1, 0]])).any()


def test_just_outside_a_sphere(rng):
    """Where the point is so close that areas are sampled instead of the cone, the mean of 1 / pdf is still the solid angle."""
    on = on_device(scene(Sphere(emission=1.0)))
    p = (0.0, 0.0, 1.00004)
    w = rng.normal(size=(COUNT, 3))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    seen = emission(on, p, w.astype(np.float32))
    hit = seen[:, 3] > 0.0
    # Uniform directions: the fraction of hits is (1 - cos) / 2, and the density integrates to the fraction of visible areas
    cos = np.sqrt(1.0 - 1.0 / 1.00004**2)
    share = 0.5 * (1.0 - cos)
    assert abs(hit.mean() - share) < 4.0 * np.sqrt(share * (1.0 - share) / COUNT)
    visible = 0.5 * (1.0 - 1.0 / 1.00004)
    *_, rest = sample(on, p, rng, 2_000_000)
    expected = 2_000_000 * visible
    assert abs(np.sum(rest[:, 0] > 0.0) - expected) < 4.0 * np.sqrt(expected) + 1


def test_constant(rng):
    """Directions to a constant sky are uniform."""
    on = on_device(scene(lights=[ConstantLight(radiance=(1.0, 2.0, 3.0))]))
    assert_follows_density(on, (0, 0, 0), rng, (0.0, 0.0, 1.0))
    assert_samples_agree(on, (0, 0, 0), rng, EPS)


def test_mixed_lights(rng):
    """With a triangle and a sphere side by side, each density includes the probability of choosing that light."""
    sphere = Sphere(center=(0.0, 3.0, 0.0), emission=0.5)
    on = on_device(scene(TRIANGLE, sphere))
    assert_follows_density(on, (0, 0, 0), rng, (0.0, 1.0, 1.0), bins=(48, 48), nodes=16)


def test_point_and_directional_lights(rng):
    """A point light arrives as intensity / d^2 and a directional one as its irradiance; both are delta lights."""
    on = on_device(scene(lights=[PointLight(position=(0.0, 3.0, 4.0), intensity=(50.0, 25.0, 0.0))]))
    wi, radiance, at, rest = sample(on, (0, 0, 0), rng, 10)
    np.testing.assert_allclose(wi, np.broadcast_to([0.0, 0.6, 0.8], (10, 3)), atol=EPS)
    np.testing.assert_allclose(radiance, np.broadcast_to([2.0, 1.0, 0.0], (10, 3)), rtol=4 * EPS)
    np.testing.assert_array_equal(at, np.broadcast_to([0.0, 3.0, 4.0], (10, 3)))
    np.testing.assert_array_equal(rest, np.broadcast_to([1.0, 1.0, 0.0], (10, 3)))
    on = on_device(scene(lights=[DirectionalLight(direction=(0.0, 0.0, -5.0), irradiance=7.0)]))
    wi, radiance, _, rest = sample(on, (9, 9, 9), rng, 10)
    np.testing.assert_array_equal(wi, np.broadcast_to([0.0, 0.0, 1.0], (10, 3)))
    np.testing.assert_array_equal(radiance, 7.0)
    np.testing.assert_array_equal(rest, 1.0)


@pytest.mark.parametrize(("beam", "cutoff"), [(None, 40.0), (10.0, 40.0), (40.0, 40.0), (0.0, 20.0)])
def test_spot_falls_off_linearly_in_the_angle(beam, cutoff, rng):
    """The intensity is full within the beam, falls linearly in the angle to zero at the cutoff, and is zero beyond."""
    lamp = SpotLight(
        to_world=(LookAt(origin=(0.0, 0.0, 2.0), target=(0.0, 0.0, 0.0)),),
        intensity=4.0,
        cutoff_angle=cutoff,
        beam_width=beam,
    )
    on = on_device(scene(lights=[lamp]))
    full = 0.75 * cutoff if beam is None else beam
    for angle in (0.0, 5.0, 9.9, 15.0, 25.0, 33.0, 39.0, 41.0, 80.0):
        p = (2.0 * np.tan(np.radians(angle)), 0.0, 0.0)
        _, radiance, _, _ = sample(on, p, rng, 1)
        d2 = 4.0 + p[0] ** 2
        falloff = 1.0 if angle <= full else max(0.0, (cutoff - angle) / max(cutoff - full, 1e-9))
        # acos of a float32 cosine near 1 has an error of eps / sin(angle)
        slack = 4 * EPS / np.sin(np.radians(max(angle, 1.0))) / np.radians(max(cutoff - full, 5.0))
        assert radiance[0, 0] == pytest.approx(4.0 * falloff / d2, abs=4.0 / d2 * (slack + 8 * EPS)), angle
