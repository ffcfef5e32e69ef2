"""Mirroring transforms in Mitsuba's files: every shape emits to the same side, and has the same normals, as in Mitsuba."""

import mitsuba as mi
import numpy as np
import pytest

from nrc_tracer.scene.geometry import world_mesh
from nrc_tracer.scene.instances import placed_shapes
from nrc_tracer.scene.load import load_scene

SENSOR = '<sensor type="perspective"/>'
TRANSFORMS = {
    "placed": '<rotate y="1" angle="20"/>',
    "mirrored": '<scale x="-1"/><rotate y="1" angle="20"/>',
    "mirrored in z": '<scale z="-1"/>',
    "point reflection": '<scale value="-1"/>',
    "turned": '<scale x="-1" y="-1"/>',
}


@pytest.fixture(autouse=True, scope="module")
def variant():
    mi.set_variant("scalar_rgb")


def write_meshes(folder) -> None:
    """Write a tetrahedron, with and without normals, in all formats of meshes."""
    points = np.array([[-1, -1, -1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]], dtype=float)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    rows = ["{:g} {:g} {:g}".format(*row) for row in points]
    vertices = "".join(f"v {row}\n" for row in rows)
    plain = "".join("f {} {} {}\n".format(*face) for face in faces + 1)
    with_normals = "".join("f {0}//{0} {1}//{1} {2}//{2}\n".format(*face) for face in faces + 1)
    (folder / "plain.obj").write_text(vertices + plain)
    (folder / "normals.obj").write_text(vertices + vertices.replace("v", "vn") + with_normals)
    for name, extra in (("plain", ()), ("normals", ("nx", "ny", "nz"))):
        names = "".join(f"property float {axis}\n" for axis in ("x", "y", "z", *extra))
        header = f"ply\nformat ascii 1.0\nelement vertex 4\n{names}element face 4\n"
        header += "property list uchar int vertex_indices\nend_header\n"
        body = "".join(f"{row} {row}\n" if extra else f"{row}\n" for row in rows)
        body += "".join("3 {} {} {}\n".format(*face) for face in faces)
        (folder / f"{name}.ply").write_text(header + body)
    mesh = mi.load_dict({"type": "obj", "filename": str(folder / "plain.obj")})
    for name, shape in (("plain", "plain.obj"), ("normals", "normals.obj")):
        mesh = mi.load_dict({"type": "obj", "filename": str(folder / shape), "face_normals": name == "plain"})
        mesh.write_ply(str(folder / f"mitsuba-{name}.ply"))


SHAPES = ["rectangle", "disk", "cube", "sphere", "cylinder"]
MESHES = ["plain.obj", "normals.obj", "plain.ply", "normals.ply", "mitsuba-plain.ply", "mitsuba-normals.ply"]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", [*SHAPES, *MESHES, *(f"flat {name}" for name in MESHES)])
def test_mirrored_shapes_emit_to_the_same_side_as_in_mitsuba(tmp_path, kind, transform, flip):
    """At the first hits of rays from all around, the emitting side is the same as in Mitsuba."""
    file = kind.removeprefix("flat ")
    plugin = kind if kind in SHAPES else file.rsplit(".", 1)[1]
    inside = "" if kind in SHAPES else f'<string name="filename" value="{file}"/>'
    inside += '<boolean name="face_normals" value="true"/>' if kind.startswith("flat") else ""
    write_meshes(tmp_path)
    path = tmp_path / "scene.xml"
    path.write_text(
        f'<scene version="3.0.0">{SENSOR}<shape type="{plugin}">{inside}'
        f'<transform name="to_world">{TRANSFORMS[transform]}</transform>'
        f'<boolean name="flip_normals" value="{str(flip).lower()}"/><emitter type="area"/></shape></scene>'
    )
    theirs = mi.load_file(str(path))
    scene = load_scene(path)
    (shape,) = scene.description.shapes
    mesh = world_mesh(shape, scene.meshes.get(file))
    corners = mesh.positions[mesh.indices].astype(np.float64)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = faces if mesh.normals is None else mesh.normals[mesh.indices].astype(np.float64).mean(axis=1)
    centers = corners.mean(axis=1)
    chosen = np.random.default_rng(4).permutation(len(centers))[:12]
    compared = 0
    for center, normal in zip(centers[chosen], normals[chosen], strict=True):
        normal = normal / np.linalg.norm(normal)
        for side in (1.0, -1.0):
            ray = mi.Ray3f((center + 0.05 * side * normal).tolist(), (-side * normal).tolist())
            hit = theirs.ray_intersect(ray)
            if not hit.is_valid() or hit.t > 0.1:
                continue
            compared += 1
            shines = theirs.shapes()[0].emitter().eval(hit)[0] > 0.0
            assert shines == (side > 0.0)
    assert compared > 0


@pytest.mark.parametrize("of_instance", ["placed", "mirrored"])
@pytest.mark.parametrize("transform", ["placed", "mirrored", "point reflection"])
@pytest.mark.parametrize("file", ["plain.ply", "normals.ply"])
def test_mirrored_members_of_groups_face_the_same_side_as_in_mitsuba(tmp_path, file, transform, of_instance):
    """At the hits of rays from all around, the front of an instance is the same as in Mitsuba."""
    write_meshes(tmp_path)
    path = tmp_path / "scene.xml"
    path.write_text(
        f'<scene version="3.0.0">{SENSOR}<shape type="shapegroup" id="group"><shape type="ply">'
        f'<string name="filename" value="{file}"/>'
        f'<transform name="to_world">{TRANSFORMS[transform]}</transform></shape></shape>'
        f'<shape type="instance"><ref id="group"/><transform name="to_world">{TRANSFORMS[of_instance]}</transform></shape>'
        "</scene>"
    )
    theirs = mi.load_file(str(path))
    scene = load_scene(path)
    (placed,) = placed_shapes(scene.description)
    mesh = world_mesh(placed.shape, scene.meshes[file])
    corners = mesh.positions[mesh.indices].astype(np.float64)
    normals = mesh.normals[mesh.indices].astype(np.float64).mean(axis=1)
    compared = 0
    for center, normal in zip(corners.mean(axis=1), normals, strict=True):
        normal = normal / np.linalg.norm(normal)
        for side in (1.0, -1.0):
            hit = theirs.ray_intersect(mi.Ray3f((center + 0.05 * side * normal).tolist(), (-side * normal).tolist()))
            assert hit.is_valid()
            assert hit.t < 0.1
            compared += 1
            assert (hit.wi[2] > 0.0) == (side > 0.0)
    assert compared == 8
