"""Mesh files without normals, loaded as scenes: flat at creases, smooth elsewhere, and only within smoothing groups."""

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.creases import CREASE
from nrc_tracer.scene.load import load_scene

CUBE = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
QUADS = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def write(folder, name: str, points, faces, before: str = "") -> str:
    """Write points and faces as OBJ or PLY; `before` is a line of the OBJ before its faces."""
    rows = ["{:.9g} {:.9g} {:.9g}".format(*row) for row in points]
    if name.endswith(".obj"):
        text = "".join(f"v {row}\n" for row in rows) + before
        text += "".join("f " + " ".join(str(k + 1) for k in face) + "\n" for face in faces)
    else:
        text = (
            f"ply\nformat ascii 1.0\nelement vertex {len(rows)}\nproperty float x\nproperty float y\nproperty float z\n"
        )
        text += (
            f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n" + "\n".join(rows) + "\n"
        )
        text += "".join(" ".join(str(k) for k in (len(face), *face)) + "\n" for face in faces)
    (folder / name).write_text(text)
    return name


def prism(sides: int):
    """The side faces of a prism around z, whose edges turn by 360 / `sides` degrees."""
    angle = 2.0 * np.pi * np.arange(sides) / sides
    ring = np.column_stack((np.cos(angle), np.sin(angle), np.zeros(sides)))
    faces = [[k, (k + 1) % sides, (k + 1) % sides + sides, k + sides] for k in range(sides)]
    return np.concatenate((ring, ring + np.array([0, 0, 1]))), faces


def load(folder, name: str):
    """The mesh of a file loaded as a scene, and the unit normals of its triangles."""
    mesh = load_scene(folder / name).meshes[name]
    corners = mesh.positions[mesh.indices].astype(np.float64)
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return mesh, flat / np.linalg.norm(flat, axis=1, keepdims=True)


@pytest.mark.parametrize(("name", "before"), [("a.ply", ""), ("a.obj", ""), ("a.obj", "s off\n"), ("a.obj", "s 1\n")])
def test_a_cube_is_flat(tmp_path, name, before):
    """Edges of 90 degrees are creases, whatever the smoothing group."""
    mesh, flat = load(tmp_path, write(tmp_path, name, CUBE, QUADS, before))
    assert mesh.indices.shape == (12, 3)
    np.testing.assert_allclose(mesh.normals[mesh.indices], np.repeat(flat[:, None], 3, axis=1), atol=1e-6)
    assert len(mesh.positions) == (36 if before == "s off\n" else 24)


@pytest.mark.parametrize("name", ["a.obj", "a.ply"])
@pytest.mark.parametrize("sides", [8, 13, 64])
def test_edges_are_smooth_up_to_an_angle(tmp_path, name, sides):
    """A prism of many sides has the normals of a cylinder; one of few sides is faceted."""
    mesh, flat = load(tmp_path, write(tmp_path, name, *prism(sides)))
    if 360.0 / sides > CREASE:
        expected = np.repeat(flat[:, None], 3, axis=1)
    else:
        expected = mesh.positions[mesh.indices] * (1, 1, 0)
    np.testing.assert_allclose(mesh.normals[mesh.indices], expected, atol=1e-6)


def test_smoothing_groups(tmp_path):
    """`s off` and 0 make faces flat; edges between groups are sharp; edges within a group are not."""
    points, faces = prism(16)
    lines = {0: "s 1\n", 8: "s 2\n", 12: "s off\n", 14: "s 0\n"}
    text = "".join("v {} {} {}\n".format(*row) for row in points)
    for number, face in enumerate(faces):
        text += lines.get(number, "") + "f " + " ".join(str(k + 1) for k in face) + "\n"
    (tmp_path / "a.obj").write_text(text)
    mesh, flat = load(tmp_path, "a.obj")
    radial = mesh.positions[mesh.indices] * (1, 1, 0)
    normals = mesh.normals[mesh.indices]
    at = np.round(np.degrees(np.arctan2(radial[..., 1], radial[..., 0])) / 22.5).astype(int) % 16
    group = np.repeat([1] * 8 + [2] * 4 + [0] * 4, 2)
    inside = np.where(group == 1, 1, 0)[:, None] * ((at > 0) & (at < 8)) + (group == 2)[:, None] * (
        (at > 8) & (at < 12)
    )
    np.testing.assert_allclose(normals[inside == 1], radial[inside == 1], atol=1e-6)
    outside = np.repeat(flat[:, None], 3, axis=1)
    np.testing.assert_allclose(normals[inside == 0], outside[inside == 0], atol=1e-6)


def test_stored_normals_are_kept(tmp_path):
    """Only corners without a vn get normals from the faces."""
    text = "".join("v {} {} {}\n".format(*row) for row in CUBE) + "vn 0 0 -2\nf 1//1 2//1 4//1 3//1\nf 5 7 8 6\n"
    (tmp_path / "a.obj").write_text(text)
    mesh, _ = load(tmp_path, "a.obj")
    np.testing.assert_allclose(mesh.normals[mesh.indices[:2]], np.broadcast_to((0, 0, -1), (2, 3, 3)))
    np.testing.assert_allclose(mesh.normals[mesh.indices[2:]], np.broadcast_to((1, 0, 0), (2, 3, 3)), atol=1e-6)


def test_vertices_at_one_position_are_one_point_of_the_surface(tmp_path):
    """A prism whose faces share no vertices, or only have other texture coordinates, is as smooth as one whose faces do."""
    points, faces = prism(64)
    alone = np.concatenate([points[face] for face in faces])
    mesh, _ = load(tmp_path, write(tmp_path, "a.ply", alone, np.arange(len(alone)).reshape(-1, 4)))
    np.testing.assert_allclose(mesh.normals[mesh.indices], mesh.positions[mesh.indices] * (1, 1, 0), atol=1e-6)


def test_edges_of_three_faces_or_of_reversed_faces_are_sharp(tmp_path):
    """Where three faces meet or orientations differ, none of the faces is joined smoothly; a face and its reverse stay flat."""
    points = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0.1], [0, -1, -0.1], [0.5, 1, 0.1]]
    for faces in ([[0, 1, 2], [1, 0, 3], [1, 0, 4]], [[0, 1, 2], [0, 1, 5]], [[0, 1, 2], [2, 1, 0]]):
        mesh, flat = load(tmp_path, write(tmp_path, "a.ply", points, faces))
        np.testing.assert_allclose(mesh.normals[mesh.indices], np.repeat(flat[:, None], 3, axis=1), atol=1e-6)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_surfaces_of_any_size(tmp_path):
    """A cube too large for a camera is refused for that reason, without NumPy's warnings about its numbers."""
    mesh, _ = load(tmp_path, write(tmp_path, "a.obj", np.array(CUBE) * 1e-40, QUADS))
    assert len(mesh.positions) == 24
    write(tmp_path, "b.obj", (np.array(CUBE) - 0.5) * 6e38, QUADS)
    with pytest.raises(SceneError, match="camera"):
        load_scene(tmp_path / "b.obj")
