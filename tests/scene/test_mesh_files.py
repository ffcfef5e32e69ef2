"""Mesh files are read with the same contents as by Mitsuba, and malformed files are refused by name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrc_tracer.errors import SceneError
from nrc_tracer.scene import obj_format
from nrc_tracer.scene.mesh_files import load_mesh

TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def soup(mesh) -> np.ndarray:
    """The corners of all triangles, shape [triangle_count, 3, 3], independent of the order of vertices."""
    return mesh.positions[mesh.indices]


# --- OBJ


def test_obj_polygons_and_all_kinds_of_corner(tmp_path):
    """Fans, negative indices, v, v/vt, v//vn, v/vt/vn, comments, continued lines and blanks in one file."""
    path = write(
        tmp_path,
        "a.obj",
        "# a comment\nmtllib none.mtl\no thing\n"
        "v 0 0 0 1.0\n  v 1 0 0 # after\nv\t1 1 0\r\nv 0 1 0\nv 2 2 \\\n 0.5\n"
        "vt 0 0\nvt 1 0\nvt 1 1 0\nvt 0.25\n"
        "vn 0 0 2\nvn 0 1 0\n"
        "usemtl m\ns off\n"
        "f 1/1/1 2/2/1 3/3/1 4/4/1\n"
        "f -5//2 -4//2 -1//2\n"
        "f 1/2 2/3 5/1\n"
        "l 1 2\nf 1 2\n",
    )
    mesh = load_mesh(path)
    p = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 2, 0.5]], dtype=np.float32)
    np.testing.assert_array_equal(soup(mesh), p[[[0, 1, 2], [0, 2, 3], [0, 1, 4], [0, 1, 4]]])
    uvs = mesh.uvs[mesh.indices]
    np.testing.assert_array_equal(uvs[0], [[0, 0], [1, 0], [1, 1]])
    np.testing.assert_array_equal(uvs[1], [[0, 0], [1, 1], [0.25, 0]])
    np.testing.assert_array_equal(uvs[2], np.zeros((3, 2)))
    np.testing.assert_array_equal(uvs[3], [[1, 0], [1, 1], [0, 0]])
    normals = mesh.normals[mesh.indices]
    np.testing.assert_array_equal(normals[0], np.tile((0, 0, 1), (3, 1)))
    np.testing.assert_array_equal(normals[2], np.tile((0, 1, 0), (3, 1)))
    # corners without a normal get smooth ones: the triangles around vertex 5 lie in one plane
    plane = np.cross(p[1], p[4]) / np.linalg.norm(np.cross(p[1], p[4]))
    np.testing.assert_allclose(normals[3][2], plane, atol=1e-6)


def test_obj_blocks_join_seamlessly(tmp_path, monkeypatch):
    """The result does not depend on the block size, with negative indices and lines that straddle blocks."""
    rng = np.random.default_rng(0)
    lines = []
    for count in range(60):
        lines.append("v " + " ".join(f"{x:.4f}" for x in rng.normal(size=3)))
        if count >= 2:
            lines.append(f"vn {count} 1 0\nf -1//-1 {count}//{count - 1} \\\n 1//1")
    path = write(tmp_path, "a.obj", "\n".join(lines))
    whole = load_mesh(path)
    monkeypatch.setattr(obj_format, "BLOCK", 37)
    pieces = load_mesh(path)
    assert len(whole.indices) == 58
    for name in ("positions", "indices", "normals"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("normal", ["0 0 0", "1e200 0 0"])
def test_obj_normals_without_a_length_are_replaced(tmp_path, normal):
    """A vn of length 0, or of a length beyond float64, counts as absent."""
    path = write(tmp_path, "a.obj", f"v 0 0 0\nv 1 0 0\nv 0 1 0\nvn {normal}\nf 1//1 2//1 3//1\n")
    np.testing.assert_array_equal(load_mesh(path).normals, np.tile((0, 0, 1), (3, 1)))


@pytest.mark.parametrize("normals", [False, True])
def test_obj_agrees_with_mitsuba(tmp_path, normals):
    """A curved mesh with seams has the same corners, uvs and (given or smooth) normals as with Mitsuba's obj plugin."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    rng = np.random.default_rng(1)
    points = rng.normal(size=(30, 3))
    faces = np.array([rng.choice(30, 3, replace=False) for _ in range(40)]) + 1
    # Mitsuba 3.9 averages on each side of a seam separately; later versions and this package average across it
    texture = rng.integers(1, 20, size=faces.shape) if normals else (faces + 1) // 2
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in points]
    lines += [f"vt {u:.5f} {v:.5f}" for u, v in rng.uniform(size=(20, 2))]
    if normals:
        lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in rng.normal(size=(30, 3))]
    for face, uv in zip(faces, texture, strict=True):
        corners = [f"{v}/{t}/{31 - v}" if normals else f"{v}/{t}" for v, t in zip(face, uv, strict=True)]
        lines.append("f " + " ".join(corners))
    path = write(tmp_path, "a.obj", "\n".join(lines))
    ours = load_mesh(path)
    shape = mi.load_dict({"type": "obj", "filename": str(path), "flip_tex_coords": False})
    for face, vertices in enumerate(ours.indices):
        theirs = [int(vertex) for vertex in shape.face_indices(face)]
        for name in ("position", "normal", "texcoord"):
            values = [list(getattr(shape, f"vertex_{name}")(vertex)) for vertex in theirs]
            field = "uvs" if name == "texcoord" else f"{name}s"
            np.testing.assert_allclose(getattr(ours, field)[vertices], values, atol=2e-6)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nv 1 0 x\nv 0 1 0\nf 1 2 3\n", r'a\.obj:2: v has something that is not a number: "v 1 0 x"'),
        ("v 0 0 0\nv 1 0\n", r"a\.obj:2: v needs 3 numbers"),
        ("v 0 0 0\nv 1 0 nan\n", r"a\.obj:2: v has a number that is not finite"),
        ("v 0 0 0\n\nf 1 2 3\n", r"a\.obj: a face uses v 3, and there are only 1"),
        ("v 0 0 0\nf 1 0 1\n", r"a\.obj:2: there is no v 0"),
        ("v 0 0 0\nf 1 -2 1\n", r"a\.obj:2: there is no v -2"),
        ("v 0 0 0\nf 1/1 1/1 1/1\n", r"a face uses vt 1, and there are only 0"),
        ("v 0 0 0\nf 1//3 1//1 1//1\n", r"a face uses vn 3, and there are only 0"),
        ("v 0 0 0\nf 1 1 one\n", r"a\.obj:2: f has something that is not"),
        ("v 0 0 0\nf 1/1/1/1 1 1\n", r"a\.obj:2: f has something that is not"),
        ("v 0 0 0\nf 1.5 1 1\n", r"a\.obj:2: f has something that is not"),
        ("v 0 0 0 \\\n 1\nv 1 0\n", r"a\.obj:3: v needs 3 numbers"),
        ("v 0 0 0\nf 1 1 \\\n", "no triangles"),
        ("v 1e60 0 0\nf 1 1 1\n", "beyond the range of float32"),
        ("v 0 0 0\nvt 1e60 0\nf 1/1 1/1 1/1\n", "a texture coordinate is not finite"),
        ("v 0 0 0\n", "no triangles"),
        ("", "no triangles"),
        (b"\x89PNG\r\n\x00\xff\xfe", "no triangles"),
    ],
)
def test_malformed_obj_files_are_refused(tmp_path, text, message):
    """Every malformed OBJ file gives a one-line error with the file's name and, where possible, the line number."""
    with pytest.raises(SceneError, match=message):
        load_mesh(write(tmp_path, "a.obj", text))


# --- PLY


def ply_header(form: str, vertices: int, faces: int, properties: str = "", index: str = "uchar int") -> bytes:
    text = f"ply\nformat {form} 1.0\ncomment made by hand\nelement vertex {vertices}\n"
    text += "property float x\nproperty float y\nproperty float z\n" + properties
    return (text + f"element face {faces}\nproperty list {index} vertex_indices\nend_header\n").encode()


@pytest.mark.parametrize("order", ["<", ">", "ascii"])
@pytest.mark.parametrize("mixed", [False, True])
def test_ply_of_every_kind(tmp_path, order, mixed):
    """Binary files of both byte orders and ASCII files, triangles with and without a quad, with normals, uvs and other data."""
    form = {"<": "binary_little_endian", ">": "binary_big_endian", "ascii": "ascii"}[order]
    extra = "".join(
        f"property {kind}\n" for kind in ("float nx", "float ny", "float nz", "uchar red", "double s", "double t")
    )
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(4, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    uvs = rng.uniform(size=(4, 2)).astype(np.float32)
    polygons = [*FACES.tolist(), [0, 1, 2, 3]] if mixed else FACES.tolist()
    rows = [(*TETRAHEDRON[k], *normals[k], 7 + k, *uvs[k]) for k in range(4)]
    if order == "ascii":
        body = (
            "\n".join(" ".join(repr(float(x)) if n != 6 else str(x) for n, x in enumerate(row)) for row in rows) + "\n"
        )
        body += "\n".join(" ".join(str(x) for x in (len(polygon), *polygon)) for polygon in polygons)
        body = body.encode()
    else:
        body = b"".join(struct.pack(order + "6fB2d", *row) for row in rows)
        body += b"".join(struct.pack(f"{order}B{len(p)}i", len(p), *p) for p in polygons)
    mesh = load_mesh(write(tmp_path, "a.ply", ply_header(form, 4, len(polygons), extra) + body))
    np.testing.assert_array_equal(mesh.positions, TETRAHEDRON)
    np.testing.assert_array_equal(mesh.indices, np.concatenate((FACES, [[0, 1, 2], [0, 2, 3]])) if mixed else FACES)
    np.testing.assert_allclose(mesh.normals, normals, atol=1e-6)
    np.testing.assert_allclose(mesh.uvs, uvs, rtol=1e-6)
    assert (mesh.indices.dtype, mesh.positions.dtype, mesh.uvs.dtype) == (np.int32, np.float32, np.float32)


def test_ply_without_normals_agrees_with_mitsuba(tmp_path):
    """Smooth normals are those of Mitsuba, and unknown elements are skipped."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    body = TETRAHEDRON.tobytes() + b"".join(struct.pack("<B3i", 3, *face) for face in FACES.tolist())
    plain = write(tmp_path, "plain.ply", ply_header("binary_little_endian", 4, 4) + body)
    shape = mi.load_dict({"type": "ply", "filename": str(plain)})
    theirs = [list(shape.vertex_normal(vertex)) for vertex in range(4)]
    np.testing.assert_allclose(load_mesh(plain).normals, theirs, atol=1e-6)
    more = b"element edge 2\nproperty list uchar float weights\nproperty short kind\nelement vertex"
    header = ply_header("binary_little_endian", 4, 4).replace(b"element vertex", more)
    edges = struct.pack("<B2fh", 2, 1.0, 2.0, 5) + struct.pack("<Bh", 0, 6)
    np.testing.assert_array_equal(load_mesh(write(tmp_path, "b.ply", header + edges + body)).indices, FACES)


LITTLE = "binary_little_endian"
GOOD_BODY = TETRAHEDRON.tobytes() + b"".join(struct.pack("<B3i", 3, *face) for face in FACES.tolist())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plY\n", "not a PLY file"),
        (b"ply\nformat ascii 1.0\n", "no end_header"),
        (b"ply\n" + b"comment " + b"x" * 100000, "no end_header"),
        (b"ply\nformat middle_endian 1.0\n", r'a\.ply:2: "format middle_endian 1.0" is not a line of a PLY header'),
        (b"ply\nelement vertex -3\n", r'a\.ply:2: "element vertex -3" is not a line of a PLY header'),
        (b"ply\nproperty float x\n", r'a\.ply:2: "property float x" is not a line of a PLY header'),
        (
            b"ply\nelement vertex 1\nproperty list float int x\n",
            r'a\.ply:3: "property list float int x" is not a line of a PLY header',
        ),
        (b"ply\nelement vertex 1\nend_header\n", "does not state a format"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nend_header\n", 'needs one element "face"'),
        (ply_header(LITTLE, 4, 4, "property float x\n") + GOOD_BODY, '"vertex" has the property "x" twice'),
        (ply_header(LITTLE, 4, 10**15) + GOOD_BODY, "truncated: its header promises at least 1000000000000048 bytes"),
        (
            ply_header(LITTLE, 4, 4).replace(b"element face", b"element none 99999999\nelement face") + GOOD_BODY[:-1],
            "truncated among its 4",
        ),
        (ply_header(LITTLE, 10**18, 4) + GOOD_BODY, "truncated: its header promises"),
        (ply_header("ascii", 10**18, 4), "truncated: its header promises"),
        (ply_header(LITTLE, 4, 4) + GOOD_BODY[:-1], 'truncated among its 4 records "face"'),
        (ply_header(LITTLE, 4, 1) + TETRAHEDRON.tobytes() + b"\xff", 'truncated among its 1 records "face"'),
        (
            ply_header(LITTLE, 4, 1, index="int int") + TETRAHEDRON.tobytes() + b"\xff" * 8,
            "truncated among its 1 records",
        ),
        (ply_header(LITTLE, 4, 1) + TETRAHEDRON.tobytes() + struct.pack("<B3i", 3, 0, 1, 4), "uses vertex 4.*only 4"),
        (ply_header(LITTLE, 4, 1) + TETRAHEDRON.tobytes() + struct.pack("<B3i", 3, 0, 1, -1), "uses vertex -1"),
        (ply_header(LITTLE, 4, 0) + TETRAHEDRON.tobytes(), "no triangles"),
        (ply_header("ascii", 3, 1) + b"0 0 0 1 0 0 0 1 zero 3 0 1 2", '"zero" in line 1 after the header'),
        (ply_header("ascii", 3, 1) + b"0 0 0\n1 0 0\n0 1 nan\n3 0 1 2", "vertex 2 has a position that is not finite"),
        (ply_header("ascii", 3, 1) + b"0 0 0\n1 0 0\n0 1 0\n3 0 1", 'truncated among its 1 records "face"'),
        (
            ply_header("ascii", 3, 1) + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 nan",
            "a face has an index that is not an integer",
        ),
        (
            ply_header("ascii", 3, 1) + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 1.5",
            "a face has an index that is not an integer",
        ),
        (ply_header("ascii", 3, 1) + b"0 0 0\n1 0 0\n0 1 0\nnan 0 1", 'truncated among its 1 records "face"'),
        (
            ply_header("ascii", 3, 1).replace(b"float z", b"float w") + b"0 0 0 1 0 0 0 1 0 3 0 1 2",
            "vertices have no z",
        ),
        (ply_header("ascii", 3, 1).replace(b"indices", b"list") + b"0 0 0 1 0 0 0 1 0 3 0 1 2", "no list called"),
    ],
)
def test_malformed_ply_files_are_refused(tmp_path, content, message):
    """Every malformed PLY file gives a one-line error with the file's name; sizes are checked before memory is allocated."""
    with pytest.raises(SceneError, match=message) as error:
        load_mesh(write(tmp_path, "a.ply", content))
    assert "a.ply" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n"),
        ("a.ply", ply_header("ascii", 1, 0) + b"0 0 0\n"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
    ],
)
def test_point_clouds_are_refused_by_that_name(tmp_path, name, content):
    """The error for a file with vertices but no faces says that it is a point cloud, and what to do."""
    with pytest.raises(SceneError, match=r"It is a point cloud.*reconstruct a mesh"):
        load_mesh(write(tmp_path, name, content))


def test_ply_colours_written_by_mitsuba(tmp_path):
    """Mitsuba writes its vertex colours as color_0, color_1 and color_2, linear."""
    header = ply_header("ascii", 3, 1, b"".join(b"property float color_%d\n" % k for k in range(3)).decode())
    mesh = load_mesh(write(tmp_path, "a.ply", header + b"0 0 0 1 .5 0\n1 0 0 0 0 0\n0 1 0 .1 .2 .3\n3 0 1 2\n"))
    np.testing.assert_allclose(mesh.colors, [[1, 0.5, 0, 1], [0, 0, 0, 1], [0.1, 0.2, 0.3, 1]], atol=1e-7)


# --- STL


def binary_stl(triangles: np.ndarray, name: bytes = b"made by hand") -> bytes:
    records = b"".join(struct.pack("<12fH", 0, 0, 0, *triangle.ravel(), 0) for triangle in triangles)
    return name.ljust(80, b" ") + struct.pack("<I", len(triangles)) + records


def ascii_stl(triangles: np.ndarray) -> str:
    facets = [
        "facet normal 0 0 0\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in triangle)
        + "endloop\nendfacet\n"
        for triangle in triangles
    ]
    return "solid thing\n" + "".join(facets) + "endsolid thing\n"


@pytest.mark.parametrize("content", [binary_stl, lambda t: binary_stl(t, b"solid but binary"), ascii_stl])
def test_stl(tmp_path, content):
    """Binary files (even if the header begins with "solid") and ASCII files give flat triangles."""
    mesh = load_mesh(write(tmp_path, "a.STL", content(TETRAHEDRON[FACES])))
    np.testing.assert_array_equal(soup(mesh), TETRAHEDRON[FACES])
    assert mesh.normals is None
    assert mesh.uvs is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes are too few"),
        (binary_stl(TETRAHEDRON[FACES])[:-1], "4 triangles need 284 bytes, it has 283"),
        (b"\0" * 80 + b"\xff" * 4, "4294967295 triangles need"),
        (binary_stl(TETRAHEDRON[:0].reshape(0, 3, 3)), "no triangles"),
        (ascii_stl(TETRAHEDRON[FACES])[:-40], "truncated"),
        (
            ascii_stl(TETRAHEDRON[FACES]).replace("vertex 0.0 1.0", "vertex 0.0 one", 1),
            "not a vertex with three numbers",
        ),
        (ascii_stl(TETRAHEDRON[FACES]).replace("vertex 0.0 1.0 0.0\n", "", 1), "facet 0 has 2 vertices"),
        (binary_stl(np.full((1, 3, 3), np.inf)), "vertex 0 has a position that is not finite"),
    ],
)
def test_malformed_stl_files_are_refused(tmp_path, content, message):
    """Every malformed STL file is refused."""
    with pytest.raises(SceneError, match=message):
        load_mesh(write(tmp_path, "a.stl", content))


# --- Files


def test_missing_and_unknown_files_are_refused(tmp_path):
    """The error about a missing file or an unknown format names the file."""
    with pytest.raises(SceneError, match=r"gone\.obj: no such mesh file"):
        load_mesh(tmp_path / "gone.obj")
    with pytest.raises(SceneError, match=r'a\.obk: "\.obk" is not a mesh format \(did you mean "\.obj"\?\)'):
        load_mesh(write(tmp_path, "a.obk", ""))
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(SceneError, match="is not a file"):
        load_mesh(tmp_path / "folder.ply")


def test_triangles_without_area_are_kept(tmp_path):
    """Triangles without area keep their numbers, and their corners do not affect the normals."""
    mesh = load_mesh(write(tmp_path, "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 1 2\nf 1 2 3\nf 2 2 2\n"))
    assert len(mesh.indices) == 3
    np.testing.assert_array_equal(mesh.normals, np.tile((0, 0, 1), (3, 1)))


SMALL_FILES = {
    ".obj": b"v 0 0 0\nv 1 0 0 # c\nv 0 1 0\nvt 0 1\nvn 0 0 1\nf 1/1/1 2/1/1 3//1\nf -1 -2 \\\n -3\n",
    ".ply": ply_header(LITTLE, 4, 2) + TETRAHEDRON.tobytes() + struct.pack("<B3iB4i", 3, 0, 1, 2, 4, 0, 1, 2, 3),
    ".PLY": ply_header("ascii", 3, 2) + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n4 0 1 2 0\n",
    ".stl": binary_stl(TETRAHEDRON[FACES[:2]]),
    ".STL": ascii_stl(TETRAHEDRON[FACES[:1]]).encode(),
}
EDITS = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.integers(0, 3),
        st.sampled_from(
            [b"", b"9", b"-", b"/", b"\\\n", b"#", b" nan ", b"\xff", b"1e99", b"99999999999999999999", b"f ", b"\n"]
        ),
    ),
    max_size=5,
)


@pytest.mark.parametrize("extension", SMALL_FILES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_edited_files_load_or_are_refused(tmp_path, extension, edits):
    """Any deletion or insertion gives a valid mesh, or a one-line SceneError with the file's name."""
    content = SMALL_FILES[extension]
    for place, cut, insert in edits:
        place %= len(content) + 1
        content = content[:place] + insert + content[place + cut :]
    path = write(tmp_path, f"a{extension}", content)
    mesh = problem = None
    try:
        mesh = load_mesh(path)
    except SceneError as error:
        problem = str(error)
    if mesh is None:
        assert problem.startswith(str(path))
        assert "\n" not in problem
        return
    assert np.all((mesh.indices >= 0) & (mesh.indices < len(mesh.positions)))
    assert all(np.all(np.isfinite(values)) for values in (mesh.positions, mesh.normals, mesh.uvs) if values is not None)
