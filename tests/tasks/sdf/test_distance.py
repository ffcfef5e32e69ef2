"""Distances to a mesh and their signs, compared with closed forms and slow sums over all triangles."""

import numpy as np
import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.sdf.distance import MeshDistance, SignMethod
from nrc_tracer.tasks.sdf.mesh import unit_mesh

from .shapes import box, box_distance, flipped, joined, slow_distance, sphere, torus, torus_distance, winding_number

EPSILON = 2.0**-23
"""Relative precision of positions in the unit cube."""
METHODS = list(SignMethod)


def points_around(count=4000, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((count, 3), np.float32))


def to_mesh(mesh, points):
    """Points of the unit cube in the mesh's own coordinates."""
    return (points.numpy().astype(np.float64) - 0.5) / mesh.scale + mesh.center


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("shape", "exact", "deviation"),
    [
        (box(), box_distance, 0.0),
        # The largest gap between a sphere or torus and its triangles, whose edges are 0.08 and 0.05 long
        (sphere(4), lambda x: np.linalg.norm(x, axis=1) - 1.0, 0.002),
        (torus(), torus_distance, 0.002),
    ],
    ids=["box", "sphere", "torus"],
)
def test_closed_forms(launcher, shape, exact, deviation, method):
    mesh = unit_mesh(*shape)
    points = points_around()
    found = MeshDistance(mesh, launcher).signed(points, method).numpy() / mesh.scale
    np.testing.assert_allclose(found, exact(to_mesh(mesh, points)), atol=deviation + 8 * EPSILON / mesh.scale)


def test_nearest_triangles_against_a_search_of_all(launcher):
    """The mesh has triangles of many shapes and sizes, including needles and intersecting ones."""
    random = np.random.default_rng(3)
    corners = random.random((200, 1, 3)) + random.normal(size=(200, 3, 3)) * 10.0 ** random.uniform(
        -3, -0.5, (200, 1, 1)
    )
    mesh = unit_mesh(corners.reshape(-1, 3), np.arange(600).reshape(-1, 3))
    points = points_around(1000)
    distances, triangles = MeshDistance(mesh, launcher).nearest(points)
    exact = points.numpy().astype(np.float64)
    np.testing.assert_allclose(distances, slow_distance(exact, mesh.positions, mesh.indices), atol=8 * EPSILON)
    for point, distance, triangle in zip(exact[:50], distances[:50], triangles[:50], strict=True):
        alone = slow_distance(point[None], mesh.positions, mesh.indices[int(triangle)][None])
        np.testing.assert_allclose(alone[0], distance, atol=8 * EPSILON)


@pytest.mark.parametrize("method", METHODS)
def test_sign_beside_edges_and_vertices(launcher, method):
    """The nearest features are vertices and edges of thin, sharp shapes, for which face normals alone give the wrong sign."""
    random = np.random.default_rng(5)
    # A star: a sphere with long spikes outwards and inwards
    positions, indices = sphere(1)
    mesh = unit_mesh(positions * random.uniform(0.2, 1.0, (len(positions), 1)), indices)
    chosen = mesh.positions[random.integers(len(mesh.positions), size=3000)]
    points = torch.from_numpy((chosen + random.normal(scale=0.003, size=chosen.shape)).astype(np.float32))
    exact = points.numpy().astype(np.float64)
    winding = winding_number(exact, mesh.positions, mesh.indices)
    found = MeshDistance(mesh, launcher).signed(points, method).numpy()
    clear = np.abs(found) > 16 * EPSILON
    assert clear.mean() > 0.9
    wrong = (found[clear] < 0.0) != (winding[clear] > 0.5)
    # The fast winding number is an approximation, also near its threshold
    assert wrong.mean() <= (0.002 if method == SignMethod.WINDING else 0.0)


def test_parity_does_not_depend_on_orientation(launcher):
    mesh = unit_mesh(*flipped(sphere(3), slice(None, None, 3)))
    points = points_around()
    radius = np.linalg.norm(to_mesh(mesh, points), axis=1)
    clear = np.abs(radius - 1.0) > 0.01
    found = MeshDistance(mesh, launcher).signed(points, SignMethod.PARITY).numpy()
    np.testing.assert_array_equal((found < 0.0)[clear], (radius < 1.0)[clear])


def test_winding_number_fills_overlapping_parts(launcher):
    """The union of two spheres is inside, including their overlap, where parity says outside."""
    mesh = unit_mesh(*joined(sphere(3), sphere(3, center=(0.9, 0.0, 0.0))))
    points = points_around()
    x = to_mesh(mesh, points)
    field = np.minimum(np.linalg.norm(x, axis=1), np.linalg.norm(x - [0.9, 0.0, 0.0], axis=1)) - 1.0
    clear = np.abs(field) > 0.01
    found = MeshDistance(mesh, launcher).signed(points, SignMethod.WINDING).numpy()
    np.testing.assert_array_equal((found < 0.0)[clear], (field < 0.0)[clear])


def test_points_inside_a_reversed_mesh_are_wound_backwards(launcher):
    mesh = unit_mesh(*flipped(sphere(3)))
    points = points_around()
    radius = np.linalg.norm(to_mesh(mesh, points), axis=1)
    clear = np.abs(radius - 1.0) > 0.01
    found = MeshDistance(mesh, launcher).wound_backwards(points).numpy()
    np.testing.assert_array_equal(found[clear], (radius < 1.0)[clear])


@pytest.mark.parametrize("method", METHODS)
def test_threads_and_blocks_change_nothing(method):
    mesh = unit_mesh(*torus(around=24, across=12))
    points = points_around(3000)
    first = MeshDistance(mesh, TorchLauncher("cpu", threads=1)).signed(points, method)
    other = TorchLauncher("cpu", threads=3)
    other.block_size = 7
    assert torch.equal(first, MeshDistance(mesh, other).signed(points, method))
