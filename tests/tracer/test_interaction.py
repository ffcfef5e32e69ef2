"""From hits to surface points: positions within their error bounds, normals, texture coordinates, and ray origins."""

import numpy as np
import pytest

from nrc_tracer.scene.model import Checkerboard, Diffuse, Rotate, Scale, Sphere, Translate
from tests.tracer import kernels
from tests.tracer.tiny_scenes import ACCELS, on_device, scene, triangles

EPS = float(np.finfo(np.float32).eps)


def surfaces(on, o, d):
    """Vectors (p, error, n, shading n, dpdu, tangent, offset origin), uv and (shape, light, is sphere) of each ray's hit."""
    count = len(o)
    vectors, uv = kernels.zeros((count, 7), kernels.wp.vec3), kernels.zeros(count, kernels.wp.vec2)
    numbers = kernels.zeros(count, kernels.wp.vec3i)
    inputs = [on.record, kernels.array(o, kernels.wp.vec3), kernels.array(d, kernels.wp.vec3), vectors, uv, numbers]
    kernels.launch(kernels.interaction_kernel, count, inputs)
    return vectors.numpy().astype(np.float64).transpose(1, 0, 2), uv.numpy(), numbers.numpy()


def unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


@ACCELS
@pytest.mark.parametrize("shift", [0.0, 1e3, 1e5])
def test_triangle_points_lie_within_their_error(accel, shift, rng):
    """The exact plane lies within the error box of every hit, also far from the origin, and the offset point outside of it."""
    corners = np.array([[0.1, 0.2, 0.3], [1.3, 0.1, 0.2], [0.3, 1.7, 0.9]]) + shift * np.array([1.0, -0.5, 0.7])
    corners = corners.astype(np.float32).astype(np.float64)
    # A triangle near the origin makes the scene so wide that positions are not taken relative to the far triangle
    anchor = triangles(np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.1, 0.0]]) - 50.0, [[0, 1, 2]])
    on = on_device(scene(triangles(corners, [[0, 1, 2]]), anchor), accel)
    b = rng.dirichlet((1, 1, 1), 3000)
    target = b @ corners
    o = (target + rng.normal(size=(3000, 3)) * 2.0).astype(np.float32)
    d = unit(target - o).astype(np.float32)
    (p, error, n, _, _, _, out), _, numbers = surfaces(on, o, d)
    hit = numbers[:, 0] >= 0
    assert hit.mean() > 0.9
    normal = unit(np.cross(corners[1] - corners[0], corners[2] - corners[0]))
    distance = (p[hit] - corners[0]) @ normal
    assert np.all(np.abs(distance) <= error[hit] @ np.abs(normal))
    # The offset point lies beyond the plane even if p is wrong by its whole bound
    assert np.all((out[hit] - corners[0]) @ normal > 0.0)
    # ... and not farther than needed: error bounds are 14 times half an eps of the coordinates
    assert np.abs((out[hit] - p[hit]) @ normal).max() < 2 * 14 * EPS * np.abs(corners).max() * np.abs(normal).sum()
    np.testing.assert_allclose(n[hit], np.broadcast_to(normal, n[hit].shape), atol=1e-6)


def test_normals_and_texture_coordinates_are_interpolated(rng):
    """Shading normal, uv and dpdu equal those in float64; the geometric normal is on the side of the shading normal."""
    corners = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.5], [0.0, 3.0, -0.5]])
    normals = unit(np.array([[0.3, 0.1, -1.0], [-0.2, 0.0, -1.0], [0.0, 0.4, -0.8]]))
    uvs = np.array([[0.1, 0.2], [0.9, 0.4], [0.3, 0.8]])
    mesh = triangles(
        corners,
        [[0, 1, 2]],
        face_normals=False,
        normals=tuple(map(tuple, normals.tolist())),
        uvs=tuple(map(tuple, uvs.tolist())),
        material="board",  # texture coordinates are only read where a material needs them
    )
    board = {"materials": {"board": Diffuse(reflectance="board")}, "textures": {"board": Checkerboard()}}
    on = on_device(scene(mesh, **board))
    b = rng.dirichlet((2, 2, 2), 500)
    target = b @ corners
    o = (target + np.array([0.3, 0.2, 5.0])).astype(np.float32)
    (_, _, n, shading, dpdu, tangent, _), uv, _ = surfaces(on, o, unit(target - o).astype(np.float32))
    np.testing.assert_allclose(shading, unit(b @ normals), atol=64 * EPS)
    np.testing.assert_allclose(uv, b @ uvs, atol=64 * EPS)
    face = -unit(np.cross(corners[1] - corners[0], corners[2] - corners[0]))
    np.testing.assert_allclose(n, np.broadcast_to(face, n.shape), atol=4 * EPS)
    # p(u, v) is affine on a triangle: solve for its derivatives
    expected = np.linalg.solve(uvs[1:] - uvs[0], corners[1:] - corners[0])[0]
    np.testing.assert_allclose(dpdu, np.broadcast_to(expected, dpdu.shape), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.einsum("ij,ij->i", tangent, shading), 0.0, atol=8 * EPS)
    assert np.all(tangent @ expected > 0.0)


def test_spheres(rng):
    """Point, outward normal, uv (azimuth, polar angle) and dpdu of a rotated and scaled sphere."""
    turn = Rotate(axis=(1.0, 0.0, 0.0), angle=90.0)  # local z becomes world -y, local y becomes world z
    ball = Sphere(radius=0.5, to_world=(Scale(4.0), turn, Translate((1.0, 2.0, 3.0))))
    on = on_device(scene(ball))
    out = unit(rng.normal(size=(1000, 3)))
    o = (np.array([1.0, 2.0, 3.0]) + 2.0 * out * 3.0).astype(np.float32)
    (p, error, n, shading, dpdu, _, _), uv, numbers = surfaces(on, o, (-out).astype(np.float32))
    np.testing.assert_array_equal(numbers, np.broadcast_to([0, -1, 1], numbers.shape))
    np.testing.assert_allclose(n, out, atol=16 * EPS)
    np.testing.assert_array_equal(n, shading)
    assert np.all(np.abs(np.linalg.norm(p - [1.0, 2.0, 3.0], axis=1) - 2.0) <= np.linalg.norm(error, axis=1))
    local = np.column_stack([out[:, 0], out[:, 2], -out[:, 1]])
    phi = np.arctan2(local[:, 1], local[:, 0]) % (2.0 * np.pi)
    far = (np.abs(local[:, 2]) < 0.99) & (phi > 1e-3) & (phi < 2.0 * np.pi - 1e-3)
    np.testing.assert_allclose(uv[far, 0], phi[far] / (2.0 * np.pi), atol=1e-5)
    np.testing.assert_allclose(uv[:, 1], np.arccos(local[:, 2]) / np.pi, atol=1e-3)  # acos near the poles: sqrt(eps)
    along = np.column_stack([-local[:, 1], local[:, 0], np.zeros(1000)])
    expected = 2.0 * np.pi * 2.0 * np.column_stack([along[:, 0], -along[:, 2], along[:, 1]])
    np.testing.assert_allclose(dpdu, expected, atol=2.0 * np.pi * 2.0 * 16 * EPS)


def test_every_triangle_of_a_mesh_has_its_own_light():
    """Each triangle of an emitting mesh has its own light, also after another mesh and another light."""
    dark = triangles([[5, 0, 0], [6, 0, 0], [5, 1, 0]], [[0, 1, 2]])
    lamp = triangles([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], emission=1.0)
    on = on_device(scene(Sphere(center=(0, 9, 0), emission=1.0), dark, lamp))
    o = np.float32([[0.7, 0.2, 1.0], [0.2, 0.7, 1.0], [5.2, 0.2, 1.0], [0.0, 9.0, 4.0]])
    _, _, numbers = surfaces(on, o, np.float32([[0, 0, -1]] * 4))
    np.testing.assert_array_equal(numbers, [[2, 1, 0], [2, 2, 0], [1, -1, 0], [0, 0, 1]])


@pytest.mark.parametrize("size", [1e20, 1.0, 1e-15, 1e-25])
def test_huge_and_tiny_triangles_and_slivers_have_normals(size):
    """Triangles with edges of 10^20 and 10^-25 units, and slivers 10^4 times as long as wide, have unit normals."""
    corners = (np.array([[1.0, 1.1, 0.3], [2.0, 1.3, 0.1], [0.4, 2.0, 0.0], [2.0, 1.3001, 0.1]]) * size).astype(
        np.float32
    )
    on = on_device(scene(triangles(corners, [[0, 1, 2], [0, 1, 3]])))
    p = corners.astype(np.float64)
    expected = unit(np.cross(p[1] - p[0], np.stack([p[2], p[3]]) - p[0]))
    np.testing.assert_allclose(on.record.surfaces.triangles.numpy()["n"], expected, atol=EPS)
