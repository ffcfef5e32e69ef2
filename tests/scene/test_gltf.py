"""glTF: geometry, hierarchy, cameras and lights of small files written by the tests."""

import json

import numpy as np
import pytest
from gltf_files import QUAD, QUAD_INDICES, QUAD_UV, GltfFile

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging import write_image
from nrc_tracer.scene.fitted import SOFT_SKY
from nrc_tracer.scene.gltf import read_gltf
from nrc_tracer.scene.gltf.reader import INSTANCED
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.model import DirectionalLight, EnvironmentMap, Instance, Mesh, Orthographic, PointLight, SpotLight
from nrc_tracer.scene.transforms import matrix

HALF_TURN_Z = [0, 0, 1, 0]


@pytest.fixture
def file():
    return GltfFile()


def _only_mesh(scene):
    (mesh,) = scene.meshes.values()
    return mesh


# --- Geometry


@pytest.mark.parametrize("name", ["scene.glb", "scene.gltf"])
def test_a_triangle_mesh_in_both_containers(file, tmp_path, name):
    file.node(mesh=file.mesh(NORMAL=[(0, 0, 2)] * 4, TEXCOORD_0=QUAD_UV))
    scene = read_gltf(file.write(tmp_path, name))
    mesh = scene.meshes[f"{name}#mesh0.0"]
    assert mesh.positions.tolist() == [list(p) for p in QUAD]
    assert mesh.indices.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.normals.tolist() == [[0, 0, 1]] * 4
    assert mesh.uvs.tolist() == [list(p) for p in QUAD_UV]
    assert (mesh.positions.dtype, mesh.indices.dtype, mesh.normals.dtype) == (np.float32, np.int32, np.float32)
    assert scene.description.shapes == (Mesh(name="mesh 0", file=f"{name}#mesh0.0", material="glTF default"),)
    assert scene.warnings == ()


def test_faces_without_normals_are_flat(file, tmp_path):
    file.node(mesh=file.mesh())
    assert _only_mesh(read_gltf(file.write(tmp_path))).normals is None


def test_a_normal_of_no_length_is_replaced_by_the_faces(file, tmp_path):
    file.node(mesh=file.mesh(NORMAL=[(0, 0, 0), (0, 1, 0), (0, 1, 0), (0, 1, 0)]))
    assert _only_mesh(read_gltf(file.write(tmp_path))).normals[:2].tolist() == [[0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("mode", "indices", "triangles"),
    [
        (4, None, [[0, 1, 2]]),
        (5, (0, 1, 3, 2), [[0, 1, 3], [1, 2, 3]]),
        (5, None, [[0, 1, 2], [1, 3, 2]]),
        (6, (0, 1, 2, 3), [[0, 1, 2], [0, 2, 3]]),
    ],
)
def test_lists_strips_and_fans_keep_their_winding(file, tmp_path, mode, indices, triangles):
    positions = QUAD[:3] if mode == 4 else QUAD
    file.node(mesh=file.mesh(positions, indices, {"mode": mode}))
    read = _only_mesh(read_gltf(file.write(tmp_path))).indices.tolist()
    # A triangle may start at any of its corners
    assert [sorted(t) for t in read] == [sorted(t) for t in triangles]
    for got, expected in zip(read, triangles, strict=True):
        turned = got.index(expected[0])
        assert got[turned:] + got[:turned] == expected


def test_lines_are_left_out_with_a_warning(file, tmp_path):
    file.node(mesh=file.mesh())
    file.node(mesh=file.mesh(indices=(0, 1), primitive={"mode": 1}))
    scene = read_gltf(file.write(tmp_path))
    assert len(scene.description.shapes) == 1
    assert scene.warnings == (
        f"{tmp_path}/scene.glb: $.meshes[1].primitives[0].mode: lines are not supported and left out",
    )


def test_a_sparse_accessor_changes_some_elements(file, tmp_path):
    base = file.accessor(QUAD)
    where, values = (
        file.view(np.array([1, 3], "<u2").tobytes()),
        file.view(np.array([[2, 0, 0], [0, 5, 0]], "<f4").tobytes()),
    )
    file.root["accessors"][base]["sparse"] = {
        "count": 2,
        "indices": {"bufferView": where, "componentType": 5123},
        "values": {"bufferView": values},
    }
    mesh = file.mesh()
    file.root["meshes"][mesh]["primitives"][0]["attributes"]["POSITION"] = base
    file.node(mesh=mesh)
    assert _only_mesh(read_gltf(file.write(tmp_path))).positions.tolist() == [
        [0, 0, 0],
        [2, 0, 0],
        [1, 1, 0],
        [0, 5, 0],
    ]


def test_a_sparse_accessor_without_a_view_changes_zeros(file, tmp_path):
    where, values = file.view(bytes([0, 1])), file.view(np.array([[1, 0, 0], [0, 1, 0]], "<f4").tobytes())
    sparse = {"count": 2, "indices": {"bufferView": where, "componentType": 5121}, "values": {"bufferView": values}}
    accessor = file.add("accessors", componentType=5126, type="VEC3", count=3, sparse=sparse)
    file.node(mesh=file.add("meshes", primitives=[{"attributes": {"POSITION": accessor}}]))
    assert _only_mesh(read_gltf(file.write(tmp_path))).positions.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_interleaved_attributes(file, tmp_path):
    rows = np.array([(*p, *n) for p, n in zip(QUAD, [(0, 0, 1)] * 4, strict=True)], "<f4")
    view = file.view(rows.tobytes(), byteStride=24)
    common = {"bufferView": view, "componentType": 5126, "type": "VEC3", "count": 4}
    attributes = {"POSITION": file.add("accessors", **common), "NORMAL": file.add("accessors", byteOffset=12, **common)}
    indices = file.accessor(QUAD_INDICES, "uint8")
    file.node(mesh=file.add("meshes", primitives=[{"attributes": attributes, "indices": indices}]))
    mesh = _only_mesh(read_gltf(file.write(tmp_path)))
    assert mesh.positions.tolist() == [list(p) for p in QUAD]
    assert mesh.normals.tolist() == [[0, 0, 1]] * 4


@pytest.mark.parametrize(
    ("dtype", "normalized", "stored", "read"),
    [
        ("int8", True, (127, -127, -128), (1.0, -1.0, -1.0)),
        ("uint8", True, (255, 51, 0), (1.0, 0.2, 0.0)),
        ("int16", True, (32767, -32768, 0), (1.0, -1.0, 0.0)),
        ("uint16", False, (1, 2, 60000), (1.0, 2.0, 60000.0)),
    ],
)
def test_quantized_positions(file, tmp_path, dtype, normalized, stored, read):
    file.root["extensionsRequired"] = file.root["extensionsUsed"] = ["KHR_mesh_quantization"]
    accessor = file.accessor([stored] * 3, dtype, normalized=normalized)
    file.node(mesh=file.add("meshes", primitives=[{"attributes": {"POSITION": accessor}}]))
    np.testing.assert_allclose(_only_mesh(read_gltf(file.write(tmp_path))).positions[0], read, rtol=1e-6)


def test_vertex_colours_are_linear_with_opacity(file, tmp_path):
    colors = file.accessor([(255, 0, 51, 255)] * 4, "uint8", normalized=True)
    file.node(mesh=file.mesh(COLOR_0=colors))
    scene = read_gltf(file.write(tmp_path))
    np.testing.assert_allclose(_only_mesh(scene).colors, [(1.0, 0.0, 0.2, 1.0)] * 4, rtol=1e-6)


def test_meshes_that_only_differ_in_material_share_their_triangles(file, tmp_path):
    mesh = file.mesh(primitive={"material": file.add("materials", name="a")})
    primitive = file.root["meshes"][mesh]["primitives"][0]
    other = file.add("meshes", primitives=[{**primitive, "material": file.add("materials", name="b")}])
    file.node(mesh=mesh)
    file.node(mesh=other)
    scene = read_gltf(file.write(tmp_path))
    assert [(shape.file, shape.material) for shape in scene.description.shapes] == [
        ("scene.glb#mesh0.0", "a"),
        ("scene.glb#mesh0.0", "b"),
    ]


# --- Nodes


def test_transforms_go_down_the_hierarchy(file, tmp_path):
    mesh = file.mesh()
    child = file.node(root=False, mesh=mesh, translation=[1, 0, 0], name="child")
    file.node(children=[child], rotation=HALF_TURN_Z, scale=[2, 2, 2], translation=[0, 0, 5])
    (shape,) = read_gltf(file.write(tmp_path)).description.shapes
    assert shape.name == "child"
    # Child first: (0, 0, 0) -> (1, 0, 0) -> scaled (2, 0, 0) -> rotated (-2, 0, 0) -> (-2, 0, 5)
    np.testing.assert_allclose(matrix(shape.to_world) @ (0, 0, 0, 1), (-2, 0, 5, 1), atol=1e-12)
    np.testing.assert_allclose(matrix(shape.to_world) @ (0, 1, 0, 1), (-2, -2, 5, 1), atol=1e-12)


def test_matrices_are_stored_by_columns(file, tmp_path):
    file.node(mesh=file.mesh(), matrix=[0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0, 7, 8, 9, 1])
    (shape,) = read_gltf(file.write(tmp_path)).description.shapes
    np.testing.assert_array_equal(matrix(shape.to_world) @ (1, 0, 0, 1), (7, 9, 9, 1))


def test_large_repeated_meshes_are_instanced_and_small_ones_copied(file, tmp_path):
    large, small = file.mesh(indices=QUAD_INDICES * (INSTANCED // 2)), file.mesh()
    for x in range(3):
        file.node(mesh=large, translation=[x, 0, 0])
        file.node(mesh=small, translation=[x, 1, 0])
    description = read_gltf(file.write(tmp_path)).description
    instances = [shape for shape in description.shapes if isinstance(shape, Instance)]
    assert [matrix(shape.to_world)[0, 3] for shape in instances] == [0, 1, 2]
    assert {shape.group for shape in instances} == set(description.groups)
    assert sum(isinstance(shape, Mesh) for shape in description.shapes) == 3


def test_emissive_meshes_are_not_instanced(file, tmp_path):
    material = file.add("materials", emissiveFactor=[1, 1, 1])
    lamp = file.mesh(indices=QUAD_INDICES * INSTANCED, primitive={"material": material})
    file.node(mesh=lamp)
    file.node(mesh=lamp, translation=[2, 0, 0])
    description = read_gltf(file.write(tmp_path)).description
    assert [shape.emission for shape in description.shapes] == [1.0, 1.0]


def test_only_the_default_scene_is_read(file, tmp_path):
    file.node(mesh=file.mesh())
    file.root["scenes"].append({"nodes": [file.node(root=False, mesh=0, name="other")]})
    file.root["scene"] = 1
    assert [shape.name for shape in read_gltf(file.write(tmp_path)).description.shapes] == ["other"]


def test_without_scenes_all_roots_are_read(file, tmp_path):
    mesh = file.mesh()
    child = file.node(mesh=mesh, name="child")
    file.node(children=[child])
    file.node(mesh=mesh, name="root")
    del file.root["scenes"], file.root["scene"]
    assert [shape.name for shape in read_gltf(file.write(tmp_path)).description.shapes] == ["child", "root"]


def test_a_node_scaled_to_zero_is_left_out(file, tmp_path):
    file.node(mesh=file.mesh())
    file.node(mesh=0, scale=[0, 0, 0])
    scene = read_gltf(file.write(tmp_path))
    assert len(scene.description.shapes) == 1
    assert "$.nodes[1]: the transform is singular" in scene.warnings[0]


@pytest.mark.parametrize(
    ("children", "message"), [({0: [1], 1: [0]}, r"nodes\[1\]\.children\[0\]: node 0"), ({0: [2], 1: [2]}, "node 2 is")]
)
def test_circles_and_two_parents_are_errors(file, tmp_path, children, message):
    for index in range(3):
        node = {"children": children[index]} if index in children else {"mesh": file.mesh()}
        file.node(root=(index < 2 and children != {0: [1], 1: [0]}) or index == 0, **node)
    with pytest.raises(SceneError, match=message):
        read_gltf(file.write(tmp_path))


def test_a_deep_hierarchy_needs_no_stack(file, tmp_path):
    mesh = file.mesh()
    depth = 5000
    for index in range(depth):
        file.node(
            root=index == 0,
            translation=[0, 0, 1],
            **({"children": [index + 1]} if index + 1 < depth else {"mesh": mesh}),
        )
    (shape,) = read_gltf(file.write(tmp_path)).description.shapes
    assert matrix(shape.to_world)[2, 3] == depth


# --- Cameras, lights, environment maps


def test_cameras_look_along_minus_z_with_x_to_the_right(file, tmp_path):
    file.node(mesh=file.mesh())
    perspective = {"yfov": 1.0, "aspectRatio": 2.0, "znear": 0.1}
    file.add("cameras", type="perspective", perspective=perspective, name="main")
    file.add("cameras", type="orthographic", orthographic={"xmag": 3, "ymag": 1, "znear": 0, "zfar": 9})
    file.node(camera=0, translation=[0, 0, 5], scale=[3, 3, 3])
    file.node(camera=1)
    description = read_gltf(file.write(tmp_path)).description
    assert list(description.cameras) == ["main", "camera 1"]
    camera = description.cameras["main"]
    assert camera == description.camera
    assert (camera.fov_axis, camera.near, camera.far) == ("y", pytest.approx(0.1), None)
    assert camera.fov == pytest.approx(np.degrees(1.0))
    # Local +z is forward and +x to the left
    np.testing.assert_allclose(
        matrix(camera.to_world), np.array([[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1]])
    )
    assert (description.film.width, description.film.height) == (1280, 640)
    ortho = description.cameras["camera 1"]
    assert isinstance(ortho, Orthographic)
    np.testing.assert_allclose(matrix(ortho.to_world)[:3, :3], np.diag([-3, 3, -1]))


def test_lights_keep_their_units(file, tmp_path):
    file.node(mesh=file.mesh())
    lights = [
        {"type": "point", "color": [1, 0.5, 0.25], "intensity": 8},
        {"type": "directional", "intensity": 3},
        {"type": "spot", "spot": {"innerConeAngle": np.pi / 8, "outerConeAngle": np.pi / 4}},
    ]
    file.root["extensions"] = {"KHR_lights_punctual": {"lights": lights}}
    file.root["extensionsUsed"] = ["KHR_lights_punctual"]
    for index in range(3):
        quarter = {"rotation": [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]}  # about x: local -z becomes +y
        file.node(extensions={"KHR_lights_punctual": {"light": index}}, translation=[0, 4, 0], **quarter)
    point, sun, spot = read_gltf(file.write(tmp_path)).description.lights
    assert point == PointLight(position=(0, 4, 0), intensity=(8, 4, 2))
    assert isinstance(sun, DirectionalLight)
    assert sun.irradiance == 3
    np.testing.assert_allclose(sun.direction, (0, 1, 0), atol=1e-7)
    assert isinstance(spot, SpotLight)
    assert (spot.cutoff_angle, spot.beam_width) == (pytest.approx(45), pytest.approx(22.5))
    np.testing.assert_allclose(matrix(spot.to_world) @ (0, 0, 1, 1), (0, 5, 0, 1), atol=1e-6)


def test_a_missing_camera_is_fitted_with_a_note(file, tmp_path):
    file.node(mesh=file.mesh(), translation=[10, 0, 0])
    scene = load_scene(file.write(tmp_path), strict=True)
    assert [light.file for light in scene.description.lights] == [SOFT_SKY]
    assert len(scene.notes) == 2
    # The camera looks at the middle of the quad in its final place
    to_local = np.linalg.inv(matrix(scene.description.camera.to_world))
    np.testing.assert_allclose((to_local @ (10.5, 0.5, 0, 1))[:2], 0, atol=1e-6)


def test_a_sky_next_to_the_file_is_its_environment(file, tmp_path):
    file.node(mesh=file.mesh())
    file.root["scenes"][0]["extras"] = {"environment_emitters": [{"type": "sunsky"}]}
    path = file.write(tmp_path)
    scene = read_gltf(path)
    assert "environment_emitters[0]: the environment map scene.sky.exr is missing" in scene.warnings[0]
    write_image(tmp_path / "scene.sky.exr", np.ones((4, 8, 3)))
    scene = load_scene(path, strict=True)
    assert scene.description.lights == (EnvironmentMap(file="scene.sky.exr"),)
    assert scene.images["scene.sky.exr"].shape == (4, 8, 3)


def test_files_next_to_the_gltf_are_read(file, tmp_path):
    file.node(mesh=file.mesh())
    (tmp_path / "my data.bin").write_bytes(file.buffer)
    file.root["buffers"] = [{"byteLength": len(file.buffer), "uri": "my%20data.bin"}]
    (tmp_path / "scene.gltf").write_text(json.dumps(file.root))
    assert len(_only_mesh(read_gltf(tmp_path / "scene.gltf")).indices) == 2
