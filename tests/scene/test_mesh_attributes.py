"""Attributes of the vertices and faces of PLY files, by the names that Mitsuba gives them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

import nrc_tracer as nrc
from nrc_tracer.errors import SceneError
from nrc_tracer.scene.convert import write_scene
from nrc_tracer.scene.geometry import tessellate
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.scene.model import Mesh, SceneDescription
from nrc_tracer.scene.validate import validate

COORDINATES = ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))
VALUES = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [0.3, 0.2, 0.1]])


def write_ply(path: Path, vertex: str = "", face: str = "", kind: str = "float", scale: float = 1.0) -> Path:
    """Write two triangles; the properties `vertex` and `face`, separated by blanks, have the columns of VALUES in turn."""
    names = {"vertex": vertex.split(), "face": face.split()}
    lines = ["ply", "format ascii 1.0", "element vertex 4", *(f"property float {axis}" for axis in "xyz")]
    lines += [f"property {kind} {name}" for name in names["vertex"]]
    lines += ["element face 2", "property list uchar int vertex_indices"]
    lines += [f"property {kind} {name}" for name in names["face"]]
    lines += ["end_header"]
    text = lambda row, count: " ".join(f"{row[i % 3] * scale:g}" for i in range(count))  # noqa: E731
    for point, row in zip(COORDINATES, VALUES, strict=True):
        lines.append(f"{point[0]} {point[1]} {point[2]} {text(row, len(names['vertex']))}")
    for corners, row in zip(("3 0 1 2", "3 0 2 3"), VALUES, strict=False):
        lines.append(f"{corners} {text(row, len(names['face']))}")
    path.write_text("\n".join(lines) + "\n")
    return path


NAMES = {
    "Col_0 Col_1 Col_2": "vertex_Col",
    "my_name_x my_name_y my_name_z": "vertex_my_name",
    "Col_r Col_g Col_b": "vertex_Col_color",
    "red green blue": "vertex_color",
    "color_0 color_1 color_2": "vertex_color",
    "heat_0": "vertex_heat",
}


@pytest.mark.parametrize("element", ["vertex", "face"])
@pytest.mark.parametrize("properties", NAMES)
def test_names_and_values_are_mitsubas(properties, element, tmp_path):
    """An attribute that Mitsuba finds in a file has the same name and values here."""
    pytest.importorskip("mitsuba")
    from tests.agreement import mitsuba_oracle

    mi = mitsuba_oracle.load()
    name = NAMES[properties].replace("vertex", element, 1)
    path = write_ply(tmp_path / "a.ply", **{element: properties})
    theirs = mi.traverse(mi.load_dict({"type": "ply", "filename": str(path)}))[name]
    ours = load_mesh(path, [name]).attributes[name]
    width = len(properties.split())
    np.testing.assert_allclose(ours[:, :width].ravel(), np.array(theirs), rtol=1e-6)
    np.testing.assert_array_equal(ours[:, 3], 1.0)
    np.testing.assert_array_equal(ours[:, 1:3] if width == 1 else 0.0, ours[:, :1].repeat(2, 1) if width == 1 else 0.0)


def test_further_names(tmp_path):
    """A property without an ending is an attribute of its own; what is not asked for, or not there, is not read."""
    path = write_ply(tmp_path / "a.ply", vertex="heat a_0 a_1", face="quality")
    mesh = load_mesh(path, ["vertex_heat", "face_quality", "vertex_a", "vertex_other"])
    np.testing.assert_allclose(mesh.attributes["vertex_heat"][:, 0], VALUES[:, 0], rtol=1e-6)
    np.testing.assert_allclose(mesh.attributes["face_quality"][:, 0], VALUES[:2, 0], rtol=1e-6)
    assert set(mesh.attributes) == {"vertex_heat", "face_quality"}  # `a` has two parts
    assert load_mesh(path).attributes == {}


def test_integers_are_fractions(tmp_path):
    """Three integers are a colour in sRGB, as vertex colours are; one is a fraction of the largest value. None is negative."""
    path = write_ply(tmp_path / "a.ply", vertex="Col_0 Col_1 Col_2 heat", kind="uchar", scale=255.0)
    mesh = load_mesh(path, ["vertex_Col", "vertex_heat"])
    codes = np.array([[float(f"{x * 255.0:g}") // 1 for x in row] for row in VALUES]) / 255.0
    linear = ((codes + 0.055) / 1.055) ** 2.4
    np.testing.assert_allclose(mesh.attributes["vertex_Col"][:, :3], linear, rtol=1e-5)
    np.testing.assert_allclose(mesh.attributes["vertex_heat"][:, 0], codes[:, 0], rtol=1e-5)
    path = write_ply(tmp_path / "b.ply", vertex="Col_0 Col_1 Col_2", scale=-1.0)
    assert not load_mesh(path, ["vertex_Col"]).attributes["vertex_Col"][:, :3].any()


def test_polygons_hand_their_attributes_to_their_triangles(tmp_path):
    """Both triangles of a square have its colour."""
    path = write_ply(tmp_path / "a.ply", face="red green blue")
    path.write_text(path.read_text().replace("3 0 1 2", "4 0 1 2 3"))
    mesh = load_mesh(path, ["face_color"])
    np.testing.assert_allclose(mesh.attributes["face_color"][:, :3], VALUES[[0, 0, 1]], rtol=1e-6)


def test_triangles_keep_apart(tmp_path):
    """With an attribute of faces, each triangle has vertices and one colour of its own, at the same places."""
    mesh = load_mesh(write_ply(tmp_path / "a.ply", face="red green blue"), ["face_color"])
    shape = Mesh(file="a.ply", color_attribute="face_color")
    made = tessellate(shape, mesh)
    np.testing.assert_array_equal(made.positions[made.indices], mesh.positions[mesh.indices])
    np.testing.assert_allclose(made.colors[made.indices][:, :, :3], VALUES[:2, None].repeat(3, 1), rtol=1e-6)
    plain = tessellate(msgspec.structs.replace(shape, color_attribute=None), mesh)
    np.testing.assert_array_equal(plain.indices, mesh.indices)
    in_place = Mesh(positions=COORDINATES, indices=((0, 1, 2),), color_attribute="face_color")
    with pytest.raises(SceneError, match="names an attribute of a mesh file"):
        validate(SceneDescription(shapes=(in_place,)))


def _scene(folder: Path, *attributes: str, shape: str = "ply") -> Path:
    """A Mitsuba file with a mesh, or another shape, whose material looks up attributes."""
    textures = [
        f'<texture type="mesh_attribute" name="{name}"><string name="name" value="{attribute}"/></texture>'
        for name, attribute in zip(("diffuse_reflectance", "specular_reflectance"), attributes, strict=False)
    ]
    file = '<string name="filename" value="a.ply"/>' if shape == "ply" else ""
    bsdf = f'<bsdf type="twosided"><bsdf type="plastic">{"".join(textures)}</bsdf></bsdf>'
    (folder / "scene.xml").write_text(
        f'<scene version="3.0.0"><sensor type="perspective"/><emitter type="constant"/>'
        f'<shape type="{shape}">{file}{bsdf}</shape></scene>'
    )
    return folder / "scene.xml"


def test_scenes(tmp_path):
    """The mesh of a Mitsuba scene has the attribute that its material looks up, also through JSON."""
    write_ply(tmp_path / "a.ply", vertex="Col_0 Col_1 Col_2", face="red green blue")
    for name in ("vertex_Col", "face_color"):
        loaded = nrc.load_scene(_scene(tmp_path, name))
        assert loaded.warnings == ()
        (mesh,) = loaded.description.shapes
        assert mesh.color_attribute == name
        assert set(loaded.meshes["a.ply"].attributes) == {name}
        write_scene(loaded, tmp_path / "scene.json")
        again = nrc.load_scene(tmp_path / "scene.json")
        assert again.warnings == ()
        (kept,) = again.meshes.values()
        np.testing.assert_array_equal(kept.attributes[name], loaded.meshes["a.ply"].attributes[name])


def test_what_is_missing_is_named(tmp_path):
    """A file or a shape without the attribute, and a second attribute, are warnings that say what is done instead."""
    write_ply(tmp_path / "a.ply", vertex="Col_0 Col_1 Col_2")
    with pytest.warns(nrc.SceneWarning, match='"a.ply" has no attribute "vertex_Kol"; white is used in its place'):
        loaded = nrc.load_scene(_scene(tmp_path, "vertex_Kol"))
    assert len(loaded.warnings) == 1
    with pytest.raises(SceneError, match="vertex_Kol"):
        nrc.load_scene(_scene(tmp_path, "vertex_Kol"), strict=True)
    with pytest.warns(nrc.SceneWarning, match='shape "sphere" has no attribute "vertex_Col"; white is used'):
        nrc.load_scene(_scene(tmp_path, "vertex_Col", shape="sphere"))
    with pytest.warns(nrc.SceneWarning, match='"vertex_Col" is used in place of "vertex_b"'):
        nrc.load_scene(_scene(tmp_path, "vertex_Col", "vertex_b"))
