"""Mitsuba's serialized meshes are read as by Mitsuba, and malformed files are refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nrc_tracer as nrc
from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mesh_files import load_mesh
from tests.serialized_files import POSITIONS, file_bytes, mesh_bytes

NORMALS = np.array([[-1, -1, -1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64) / [[3**0.5], [1], [1], [1]]
UVS = np.array([[0, 0], [1, 0], [0, 1], [0.25, 0.75]])


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("double", [False, True])
def test_meshes_agree_with_mitsuba(tmp_path, version, double):
    """Every mesh of a file has the vertices, normals (smooth ones if the file has none) and texture coordinates of Mitsuba."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    kinds = [{}, {"normals": NORMALS, "uvs": UVS}, {"uvs": UVS, "colors": np.abs(NORMALS)}]
    meshes = [mesh_bytes(POSITIONS + i, version=version, double=double, **kind) for i, kind in enumerate(kinds)]
    path = tmp_path / "a.serialized"
    path.write_bytes(file_bytes(*meshes, version=version))
    for index, kind in enumerate(kinds):
        ours = load_mesh(tmp_path / f"a.serialized#{index}")
        theirs = mi.traverse(mi.load_dict({"type": "serialized", "filename": str(path), "shape_index": index}))
        np.testing.assert_array_equal(ours.indices.ravel(), theirs["faces"])
        np.testing.assert_allclose(ours.positions.ravel(), theirs["vertex_positions"], rtol=1e-6)
        np.testing.assert_allclose(ours.normals.ravel(), theirs["vertex_normals"], atol=1e-6)
        if "uvs" in kind:
            np.testing.assert_allclose(ours.uvs.ravel(), theirs["vertex_texcoords"])
        assert ("uvs" in kind) == (ours.uvs is not None)
        assert ("colors" in kind) == (ours.colors is not None)
    np.testing.assert_allclose(ours.colors, np.column_stack((np.abs(NORMALS), np.ones(4))), rtol=1e-6)
    np.testing.assert_array_equal(load_mesh(path).positions, load_mesh(tmp_path / "a.serialized#0").positions)


def test_scene_with_two_meshes_of_a_file(tmp_path):
    """shape_index in a Mitsuba scene chooses the mesh."""
    (tmp_path / "a.serialized").write_bytes(file_bytes(mesh_bytes(), mesh_bytes(POSITIONS * 2)))
    shape = '<shape type="serialized"><string name="filename" value="a.serialized"/>{}</shape>'
    body = shape.format("") + shape.format('<integer name="shape_index" value="1"/>')
    body += '<sensor type="perspective"/><emitter type="constant"/>'
    text = f'<scene version="3.0.0">{body}</scene>'
    (tmp_path / "scene.xml").write_text(text)
    scene = nrc.load_scene(tmp_path / "scene.xml")
    assert scene.warnings == ()
    first, second = (scene.meshes[shape.file] for shape in scene.description.shapes)
    np.testing.assert_array_equal(2 * first.positions, second.positions)
    (tmp_path / "scene.xml").write_text(text.replace('"1"', '"7"'))
    with pytest.raises(SceneError, match=r"scene\.xml: .*a\.serialized: there is no mesh 7: the file has 2"):
        nrc.load_scene(tmp_path / "scene.xml")


@pytest.mark.parametrize(
    ("content", "index", "message"),
    [
        (b"", 0, "truncated, or not a serialized mesh"),
        (b"ply\nformat", 0, "begins with 0x6c70 instead of 0x041c"),
        (struct.pack("<HH", 0x041C, 5) + b"1234", 0, "version 5"),
        (mesh_bytes()[:40], 0, "truncated in a mesh"),
        (struct.pack("<HH", 0x041C, 4) + b"not zlib at all", 0, "cannot be decompressed"),
        (file_bytes(mesh_bytes()), 3, "there is no mesh 3: the file has 1"),
        (mesh_bytes() + struct.pack("<I", 2**31), 1, "it claims to have 2147483648 meshes"),
        (mesh_bytes() + struct.pack("<QQI", 0, 10**9, 2), 1, "mesh 1 begins at byte 1000000000"),
        (mesh_bytes(faces=np.array([[0, 1, 4]])), 0, "vertex index 4 is out of range"),
        (mesh_bytes(np.full((4, 3), np.inf)), 0, "not finite"),
        (
            struct.pack("<HH", 0x041C, 4)
            + zlib.compress(struct.pack("<I", 0) + b"\0" + struct.pack("<QQ", 2**31 - 1, 9)),
            0,
            "2147483647 entries do not fit into the file",
        ),
        (
            struct.pack("<HH", 0x041C, 4) + zlib.compress(struct.pack("<I", 0) + b"\0" + struct.pack("<QQ", 2**63, 9)),
            0,
            "malformed: a mesh of 9223372036854775808 vertices",
        ),
    ],
)
def test_malformed_files_are_refused(tmp_path, content, index, message):
    """Errors name the file, and no large memory is allocated."""
    (tmp_path / "a.serialized").write_bytes(content)
    with pytest.raises(SceneError, match=message) as caught:
        load_mesh(tmp_path / f"a.serialized#{index}")
    assert str(tmp_path / "a.serialized") in str(caught.value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    inner=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 400),
    index=st.integers(0, 2),
)
def test_edited_files_are_loaded_or_refused(tmp_path, edits, inner, cut, index):
    """Changed bytes in the compressed or the inflated stream, and truncation, give a mesh or a one-line SceneError."""
    body = bytearray(zlib.decompress(mesh_bytes(normals=NORMALS, uvs=UVS)[4:]))
    for place, value in inner:
        body[place % len(body)] = value
    first = struct.pack("<HH", 0x041C, 4) + zlib.compress(bytes(body))
    data = bytearray(file_bytes(first, mesh_bytes()))
    for place, value in edits:
        data[place % len(data)] = value
    (tmp_path / "a.serialized").write_bytes(bytes(data[: max(len(data) - cut, 0)] if cut < 300 else data))
    problem = None
    try:
        mesh = load_mesh(tmp_path / f"a.serialized#{index}")
    except SceneError as error:
        problem = str(error)
    if problem is None:
        assert mesh.indices.max() < len(mesh.positions)
        assert np.all(np.isfinite(mesh.positions))
    else:
        assert problem.startswith(str(tmp_path / "a.serialized"))
        assert "\n" not in problem
