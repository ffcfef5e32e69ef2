"""Polygons of mesh files are covered exactly once, whether they are convex or not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.scene.polygons import MAX_CORNERS, triangulate

L_SHAPE = np.array([[2, 0], [2, 1], [1, 1], [1, 2], [0, 2], [0, 0]], dtype=float)
DART = np.array([[0, 0], [3, 0], [1, 1], [0, 3]], dtype=float)
KEYHOLE = np.array(
    [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [1, 1], [1, 3], [3, 3], [3, 1], [1, 1]], dtype=float
)  # a square with a square hole, joined by the edge from (0, 0) to (1, 1)


def areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Signed areas of triangles in the plane."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def shoelace(points: np.ndarray) -> float:
    x, y = points.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def in_space(points: np.ndarray) -> np.ndarray:
    """Place a polygon on an oblique plane without changing its lengths."""
    frame = np.linalg.qr(np.array([[1.0, 2, 3], [-1, 1, 0.5], [0.2, -1, 2]]))[0]
    return points @ frame[:2] + np.array([5.0, -3, 8])


def check(points: np.ndarray) -> None:
    """Assert that no triangle is reversed and that their areas add up to the polygon's, so that it is covered exactly once."""
    triangles = triangulate(np.array([len(points)]), in_space(points))
    assert triangles.shape == (len(points) - 2, 3)
    found = areas(points, triangles)
    assert found.min() > -1e-9
    assert found.sum() == pytest.approx(shoelace(points))


@pytest.mark.parametrize("shift", range(10))
@pytest.mark.parametrize("points", [L_SHAPE, DART, KEYHOLE, np.insert(L_SHAPE, 2, [[1.5, 1], [1.2, 1]], axis=0)])
def test_polygons_that_are_not_convex_are_covered_once(points, shift):
    """This holds for any choice of the first corner."""
    check(np.roll(points, shift, axis=0))


@settings(max_examples=100, deadline=None)
@given(radii=st.lists(st.floats(0.05, 1.0), min_size=4, max_size=60))
def test_star_shaped_polygons_are_covered_once(radii):
    """These are polygons around a point, with spikes of any length."""
    angles = 2.0 * np.pi * np.arange(len(radii)) / len(radii)
    check(np.array(radii)[:, None] * np.column_stack((np.cos(angles), np.sin(angles))))


def test_a_spiral_is_covered_once():
    """In a spiral, few corners are ears at any time."""
    angle = np.linspace(0.0, 12.0 * np.pi, 300)
    circle = np.column_stack((np.cos(angle), np.sin(angle)))
    outer, inner = (1.0 + angle)[:, None] * circle, (0.5 + 0.9 * angle)[:, None] * circle
    check(np.concatenate((outer, inner[::-1])))


def test_convex_polygons_are_fans():
    """They keep the fan around their first corner, even among other polygons that are clipped."""
    hexagon = np.column_stack((np.cos(np.arange(6) * np.pi / 3), np.sin(np.arange(6) * np.pi / 3)))
    points = in_space(np.concatenate((hexagon, L_SHAPE, hexagon[:2], hexagon)))
    triangles = triangulate(np.array([6, 6, 2, 6]), points)
    fan = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]])
    np.testing.assert_array_equal(triangles[:4], fan)
    np.testing.assert_array_equal(triangles[8:], fan + 14)


def test_any_polygon_has_two_triangles_fewer_than_corners():
    """This holds even for polygons that intersect themselves or have no area."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(3, 12, 200)
    points = rng.integers(0, 3, (sizes.sum(), 3)).astype(float)
    triangles = triangulate(sizes, points)
    assert len(triangles) == (sizes - 2).sum()
    offsets = np.repeat(np.cumsum(sizes) - sizes, sizes - 2)
    within = triangles - offsets[:, None]
    assert np.all((within >= 0) & (within < np.repeat(sizes, sizes - 2)[:, None]))


def test_huge_polygons_are_refused():
    """To bound the time, a polygon too large to clip is refused; a convex one of the same size is not."""
    angle = 2.0 * np.pi * np.arange(MAX_CORNERS + 1) / (MAX_CORNERS + 1)
    circle = np.column_stack((np.cos(angle), np.sin(angle), np.zeros_like(angle)))
    assert len(triangulate(np.array([len(circle)]), circle)) == MAX_CORNERS - 1
    circle[::2] *= 0.5
    with pytest.raises(SceneError, match=r"not convex has 8193 corners"):
        triangulate(np.array([len(circle)]), circle)


@pytest.mark.parametrize("name", ["a.obj", "a.ply"])
def test_mesh_files_with_polygons_that_are_not_convex(tmp_path, name):
    """The area of an L of three unit squares is 3, read from OBJ and PLY."""
    points = np.column_stack((L_SHAPE, np.zeros(6)))
    rows = "".join("{:g} {:g} {:g}\n".format(*row) for row in points)
    if name == "a.obj":
        text = "v " + rows.strip().replace("\n", "\nv ") + "\nf 1 2 3 4 5 6\n"
    else:
        text = "ply\nformat ascii 1.0\nelement vertex 6\nproperty float x\nproperty float y\nproperty float z\n"
        text += "element face 1\nproperty list uchar int vertex_indices\nend_header\n" + rows + "6 0 1 2 3 4 5\n"
    (tmp_path / name).write_text(text)
    mesh = load_mesh(tmp_path / name)
    found = areas(mesh.positions[:, :2], mesh.indices)
    assert found.min() >= 0.0
    assert found.sum() == pytest.approx(3.0)
