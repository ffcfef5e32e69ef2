"""Mesh files as scenes: the whole mesh is in view and has its own colours, and a note lists what was added."""

from dataclasses import replace

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.fitted import MARGIN, SOFT_SKY, Part, fitted_camera, sky_pixels, soft_sky
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.scene.model import TriangleMesh, VertexColor
from nrc_tracer.scene.ply_writer import write_ply
from nrc_tracer.scene.positions import stored_positions
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.scene.vertex_colors import decode_srgb

OBJ = "v 0 0 0\nv 1 0 0\nv 0 2 0\nf 1 2 3\n"
STL = (
    "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 2 0\nendloop\nendfacet\nendsolid a\n"
)


def cuboid(low, high):
    """The corners of a box, and triangles of which the last faces +x, +y and +z."""
    corners = np.stack(np.meshgrid(*np.transpose([low, high]).astype(float), indexing="ij"), axis=-1).reshape(8, 3)
    return TriangleMesh(stored_positions(corners), np.array([[0, 1, 2], [0, 2, 4], [0, 4, 1], [4, 2, 1]]))


def in_image(camera, points):
    """Coordinates of points in a square image, in [-1, 1] if they are seen, and their distance along the view."""
    local = (points - matrix(camera.to_world)[:3, 3]) @ matrix(camera.to_world)[:3, :3]
    return local[:, :2] / (local[:, 2:] * np.tan(np.radians(camera.fov) / 2.0)), local[:, 2]


@pytest.mark.parametrize("up", [(0, 1, 0), (0, 0, 1), (1, 0, 0), (0, -1, 0), (0.6, 0.8, 0)])
@pytest.mark.parametrize(
    "bounds",
    [
        ((-1, -2, -3), (4, 5, 6)),
        ((1e6, 1e6, 1e6), (1e6 + 1, 1e6 + 1, 1e6 + 1)),
        ((0, 0, 0), (1, 10, 1)),
        ((0, 0, 0), (30, 1, 2)),
    ],
)
def test_the_object_fills_the_image_of_the_fitted_camera(bounds, up):
    """All corners of any box are seen, centred, and the outermost ones are close to the edge of the image."""
    camera = fitted_camera([Part(cuboid(*bounds))], up=up)
    corners = cuboid(*bounds).positions.astype(float)
    at, depth = in_image(camera, corners)
    assert camera.fov_axis == "smaller"
    assert depth.min() > 0.0
    assert np.abs(at).max() == pytest.approx(1.0 / MARGIN, rel=1e-6)
    np.testing.assert_allclose(at.max(axis=0), -at.min(axis=0), atol=0.01)
    # Seen from above and upright
    to_world = matrix(camera.to_world)
    upward = np.asarray(up) / np.linalg.norm(up)
    assert to_world[:3, 2] @ upward == pytest.approx(-np.sin(np.radians(18.0)))
    assert to_world[:3, 0] @ upward == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("turned", [False, True], ids=["front", "back"])
@pytest.mark.parametrize(("axis", "up"), [(2, (0, 1, 0)), (0, (0, 1, 0)), (1, (0, 0, 1)), (0, (0, 0, 1))])
def test_flat_objects_are_seen_from_the_front(axis, up, turned):
    """The camera looks straight at the side that the triangles of an upright panel face, also of a mirrored one."""
    corners = np.insert([[-1.0, -1.0], [2.0, -1.0], [2.0, 0.5], [-1.0, 0.5]], axis, 3.0, axis=1)
    mesh = TriangleMesh(corners.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]]))
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    if turned:
        mesh = replace(mesh, indices=mesh.indices[:, ::-1])
        normal = -normal
    forward = matrix(fitted_camera([Part(mesh)], up=up).to_world)[:3, 2]
    np.testing.assert_allclose(forward, -normal / np.linalg.norm(normal), atol=1e-9)
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    forward = matrix(fitted_camera([Part(mesh, mirror)], up=up).to_world)[:3, 2]
    np.testing.assert_allclose(forward, -mirror[:3, :3] @ normal / np.linalg.norm(normal), atol=1e-9)


def test_flat_ground_is_seen_from_above():
    """A terrain fills the image too, seen from 50 degrees above the horizon."""
    corners = np.array([[-3.0, 0.0, -2.0], [3.0, 0.01, -2.0], [3.0, 0.0, 2.0], [-3.0, 0.01, 2.0]])
    mesh = TriangleMesh(corners.astype(np.float32), np.array([[0, 2, 1], [0, 3, 2]]))
    camera = fitted_camera([Part(mesh)])
    assert matrix(camera.to_world)[1, 2] == pytest.approx(-np.sin(np.radians(50.0)))
    assert np.abs(in_image(camera, corners)[0]).max() == pytest.approx(1.0 / MARGIN, rel=1e-6)


def test_parts_are_seen_where_they_are_placed():
    """The camera fits all parts, each with its transform."""
    moved = np.eye(4)
    moved[:3, 3] = (7.0, 1.0, 0.0)
    mesh = cuboid((0, 0, 0), (1, 1, 1))
    camera = fitted_camera([Part(mesh), Part(mesh, moved)])
    points = np.concatenate([mesh.positions, mesh.positions + moved[:3, 3]])
    assert np.abs(in_image(camera, points)[0]).max() == pytest.approx(1.0 / MARGIN, rel=1e-6)


def test_a_point_has_a_camera():
    """An object without extent has a camera in front of it."""
    camera = fitted_camera([Part(cuboid((1, 2, 3), (1, 2, 3)))])
    at, depth = in_image(camera, np.array([[1.0, 2.0, 3.0]]))
    assert np.abs(at).max() < 1e-6
    assert depth[0] > 0.1


def test_the_sky_is_brighter_above_than_below_for_any_up_axis():
    pixels = sky_pixels()
    assert pixels.dtype == np.float32
    assert np.all(pixels > 0.0)
    assert pixels[:64].mean() > 2.0 * pixels[64:].mean()
    for up in ((0, 1, 0), (0, 0, 1), (1, 0, 0), (0, -1, 0)):
        np.testing.assert_allclose(matrix(soft_sky(up=up).to_world)[:3, :3] @ (0, 1, 0), up, atol=1e-12)


@pytest.mark.parametrize(("name", "text", "axis"), [("a.obj", OBJ, "y"), ("a.STL", STL, "z")])
def test_a_mesh_alone_is_a_scene(tmp_path, name, text, axis):
    path = tmp_path / name
    path.write_text(text)
    scene = load_scene(path, strict=True)  # additions give a note, not a warning
    assert scene.warnings == ()
    assert scene.notes == (
        f"{name} contains only a mesh: a fitted camera ({axis} is up), a soft sky and grey material were added",
    )
    assert scene.source == path
    assert list(scene.meshes) == [name]
    assert scene.images[SOFT_SKY].shape == (128, 256, 3)
    forward = matrix(scene.description.camera.to_world)[:3, 2]
    # The triangle is upright if y is up, and lies on the ground if z is up
    np.testing.assert_allclose(forward["xyz".index(axis)], 0.0 if axis == "y" else -np.sin(np.radians(50.0)), atol=1e-9)


def test_vertex_colours_become_the_material(tmp_path):
    header = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue", "alpha"))
    header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "a.ply").write_text(header + "0 0 0 255 128 0 51\n1 0 0 0 0 0 255\n0 1 0 188 188 188 0\n3 0 1 2\n")
    scene = load_scene(tmp_path / "a.ply")
    description = scene.description
    assert description.textures[description.materials["surface"].reflectance] == VertexColor()
    assert "the file's vertex colours" in scene.notes[0]
    expected = [[1, 0.2158605, 0, 0.2], [0, 0, 0, 1], [0.5028865, 0.5028865, 0.5028865, 0]]
    np.testing.assert_allclose(scene.meshes["a.ply"].colors, expected, atol=1e-6)


def test_obj_vertex_colours_are_srgb_and_white_if_missing(tmp_path):
    text = "v 0 0 0 1 0.5 0\nv 1 0 0\nv 0 1 0 0.25 0 0\nvt 0 0\nvt 1 1\nf 1/1 2/2 3/2\nf 1/2 3/2 2/2\n"
    (tmp_path / "a.obj").write_text(text)
    mesh = load_scene(tmp_path / "a.obj").meshes["a.obj"]
    found = {tuple(p): c for p, c in zip(mesh.positions.tolist(), mesh.colors.tolist(), strict=True)}
    np.testing.assert_allclose(found[0, 0, 0], [1, 0.2140411, 0, 1], atol=1e-6)
    np.testing.assert_allclose(found[1, 0, 0], [1, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found[0, 1, 0], [0.0508761, 0, 0, 1], atol=1e-6)
    (tmp_path / "b.obj").write_text("v 0 0 0 1 nan 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(SceneError, match=r"b.obj:1: v has a colour that is not finite"):
        load_scene(tmp_path / "b.obj")


def test_vertex_colours_are_decoded_like_images():
    from nrc_tracer.imaging import decode_srgb as of_images

    values = np.linspace(0.0, 1.0, 1001)
    np.testing.assert_allclose(decode_srgb(values), of_images(values), rtol=0, atol=4e-7)  # powers in float32


@pytest.mark.parametrize("channels", ["", "n", "u", "c", "nuc"])
def test_a_written_ply_is_read_back_bit_for_bit(tmp_path, channels):
    rng = np.random.default_rng(3)
    normals = rng.normal(size=(50, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    mesh = TriangleMesh(
        rng.normal(size=(50, 3)).astype(np.float32) * np.float32(1e3),
        rng.integers(0, 50, (90, 3)).astype(np.int32),
        normals if "n" in channels else None,
        rng.normal(size=(50, 2)).astype(np.float32) if "u" in channels else None,
        rng.uniform(0, 2, (50, 4)).astype(np.float32) if "c" in channels else None,
    )
    write_ply(mesh, tmp_path / "a.ply")
    back = load_mesh(tmp_path / "a.ply")  # as a scene of its own, a mesh without normals is split at its creases
    for name in ("positions", "indices", "uvs", "colors", *(["normals"] if mesh.normals is not None else [])):
        np.testing.assert_array_equal(getattr(back, name), getattr(mesh, name), err_msg=name)


def test_a_mesh_too_large_for_a_camera_is_an_error(tmp_path):
    (tmp_path / "a.obj").write_text("v -3e38 0 0\nv 3e38 0 0\nv 0 3e38 0\nf 1 2 3\n")
    with pytest.raises(SceneError, match=r"a\.obj: \$\.camera\.to_world"):
        load_scene(tmp_path / "a.obj")
