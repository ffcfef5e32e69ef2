"""Reading a mesh and scaling it into the unit cube."""

import numpy as np
import pytest

from nrc_tracer.errors import DataError
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.ply_writer import write_ply
from nrc_tracer.tasks.sdf.mesh import FILL, load_unit_mesh, unit_mesh

from .shapes import box, sphere


def test_transform_maps_the_mesh_into_the_cube_and_back():
    positions, indices = box((3.0, 0.5, 1.0))
    positions = positions + np.array([100.0, -20.0, 7.0])
    mesh = unit_mesh(positions, indices)
    np.testing.assert_allclose(mesh.bounds, [[97.0, -20.5, 6.0], [103.0, -19.5, 8.0]])
    np.testing.assert_allclose(mesh.scale, FILL / 6.0)
    np.testing.assert_allclose(mesh.box.mean(axis=0), 0.5)
    back = (mesh.positions - 0.5) / mesh.scale + mesh.center
    order = lambda rows: rows[np.lexsort(rows.round(3).T)]  # noqa: E731
    np.testing.assert_allclose(order(back), order(positions), atol=6.0 * 2.0**-23 / FILL)
    assert mesh.positions.min() >= (1.0 - FILL) / 2.0 - 1e-6
    assert mesh.positions.max() <= (1.0 + FILL) / 2.0 + 1e-6


def test_equal_positions_become_one_vertex():
    """Triangles that share no vertices, as in an STL file, give the same mesh; so do zeros of both signs."""
    positions, indices = sphere(2)
    soup = positions[indices].reshape(-1, 3).astype(np.float32)
    soup[soup == 0.0] *= -1.0
    mesh = unit_mesh(soup, np.arange(len(soup)).reshape(-1, 3))
    assert len(mesh.positions) == len(positions)
    assert mesh.fingerprint == unit_mesh(positions, indices).fingerprint


def test_vertices_without_a_triangle_do_not_count():
    positions, indices = box()
    far = np.concatenate([positions, [[1e6, 0.0, 0.0]]])
    assert unit_mesh(far, indices).fingerprint == unit_mesh(positions, indices).fingerprint


def test_fingerprints_of_different_meshes_differ():
    positions, indices = sphere(1)
    moved = positions.copy()
    moved[3] *= 1.001
    prints = {unit_mesh(positions, indices).fingerprint, unit_mesh(moved, indices).fingerprint}
    assert len(prints | {unit_mesh(positions, indices[:-1]).fingerprint}) == 3


@pytest.mark.parametrize(
    ("positions", "indices", "words"),
    [
        (np.zeros((3, 3)), np.zeros((0, 3), int), "no triangles"),
        ([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]], [[0, 1, 2]], "vertex 2 has a position that is not finite"),
        (np.ones((3, 3)), [[0, 1, 2]], "in one point"),
        ([[0, 0, 0], [1, 1, 1], [2, 2, 2]], [[0, 1, 2]], "has an area"),
        (np.eye(3), [[0, 1, 3]], "not among the 3"),
    ],
)
def test_meshes_that_are_not_surfaces_are_refused(positions, indices, words):
    with pytest.raises(DataError, match=words):
        unit_mesh(np.asarray(positions), np.asarray(indices))


def test_a_file_gives_the_mesh_of_its_arrays(tmp_path):
    """A file gives the same mesh as its arrays; readers' errors name the file."""
    positions, indices = sphere(1)
    write_ply(TriangleMesh(positions.astype(np.float32), indices.astype(np.int32)), tmp_path / "ball.ply")
    mesh = load_unit_mesh(tmp_path / "ball.ply")
    assert mesh.name == "ball.ply"
    assert mesh.fingerprint == unit_mesh(positions, indices).fingerprint
    (tmp_path / "empty.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    for name in ("empty.obj", "nan.obj", "missing.obj", "ball.fbx"):
        with pytest.raises(DataError, match=name):
            load_unit_mesh(tmp_path / name)


def test_nodes_of_a_glb_place_its_meshes(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.Scene()
    ball = trimesh.Trimesh(*sphere(1), process=False)
    for x in (0.0, 5.0):
        scene.add_geometry(ball, transform=trimesh.transformations.translation_matrix([x, 0.0, 0.0]))
    (tmp_path / "two.glb").write_bytes(scene.export(file_type="glb"))
    mesh = load_unit_mesh(tmp_path / "two.glb")
    assert len(mesh.indices) == 160
    np.testing.assert_allclose(mesh.bounds[:, 0], [-1.0, 6.0], atol=0.2)
