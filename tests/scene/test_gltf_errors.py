"""Malformed glTF files: each raises a `SceneError` with file and place, and damage never causes another exception."""

import copy
import json
import struct

import numpy as np
import pytest
from gltf_files import QUAD, QUAD_UV, GltfFile

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.gltf import read_gltf
from nrc_tracer.scene.validate import validate

FUZZED = 3000


def _full() -> GltfFile:
    """A file with one of almost everything."""
    file = GltfFile()
    pixels = np.dstack([np.full((4, 4, 3), 99), np.arange(16).reshape(4, 4) * 17])
    texture = {"index": file.image(pixels, sampler=file.add("samplers", wrapS=33071))}
    texture["extensions"] = {"KHR_texture_transform": {"rotation": 1.0, "scale": [2, 3]}}
    material = file.add(
        "materials",
        name="all",
        pbrMetallicRoughness={"baseColorTexture": texture, "metallicRoughnessTexture": texture, "metallicFactor": 0.5},
        normalTexture={"index": 0, "scale": 0.5},
        emissiveFactor=[1, 1, 1],
        alphaMode="MASK",
        extensions={
            "KHR_materials_transmission": {"transmissionFactor": 0.5},
            "KHR_materials_clearcoat": {"clearcoatFactor": 1},
        },
    )
    colors = file.accessor([(255, 0, 0, 255)] * 4, "uint8", normalized=True)
    quad = file.mesh(primitive={"material": material}, TEXCOORD_0=QUAD_UV, NORMAL=[(0, 0, 1)] * 4, COLOR_0=colors)
    where, values = file.view(bytes([1])), file.view(np.array([[2, 0, 0]], "<f4").tobytes())
    sparse = {"count": 1, "indices": {"bufferView": where, "componentType": 5121}, "values": {"bufferView": values}}
    file.root["accessors"][0]["sparse"] = sparse
    child = file.node(root=False, mesh=quad, rotation=[0, 0, 0.6, 0.8])
    file.node(children=[child], matrix=[2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 1, 2, 3, 1])
    file.add("cameras", type="perspective", perspective={"yfov": 1, "znear": 0.1})
    file.root["extensions"] = {"KHR_lights_punctual": {"lights": [{"type": "spot", "spot": {"outerConeAngle": 0.5}}]}}
    file.node(camera=0, extensions={"KHR_lights_punctual": {"light": 0}})
    return file


def _change(file: GltfFile, path: str, value) -> None:
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    target = file.root
    for key in parents:
        target = target[key]
    if value is None:
        del target[last]
    else:
        target[last] = value


CASES = [
    ("asset", None, r'"asset" is missing'),
    ("asset.version", "1.0", r'\$\.asset\.version: glTF version "1\.0" is not supported'),
    ("extensionsRequired", ["KHR_draco_mesh_compression"], r"extensionsRequired\[0\]: KHR_draco_mesh_compression"),
    ("extensionsRequired", ["EXT_made_up"], r'the file requires the extension "EXT_made_up"'),
    ("scene", 4, r"\$\.scene: there is no scenes\[4\] \(the file has 1\)"),
    ("nodes", 7, r"\$\.nodes: expected an array"),
    ("nodes.0.mesh", -1, r"\$\.nodes\[0\]\.mesh: there is no meshes\[-1\]"),
    ("nodes.0.mesh", "a", r"\$\.nodes\[0\]\.mesh: expected an index"),
    ("nodes.0.rotation", [0, 0, 0, 0], r"\$\.nodes\[0\]\.rotation: must not be zero"),
    ("nodes.0.rotation", [0, 0, 1], r"rotation: expected an array of 4 numbers"),
    ("nodes.1.matrix", [1.0] * 16, r"\$\.nodes\[1\]\.matrix: is not affine"),
    ("nodes.0.scale", [1e39, 1, 1], r"\$\.nodes\[0\]\.scale\[0\]: not a finite number"),
    ("meshes.0.primitives", {}, r"\$\.meshes\[0\]\.primitives: expected an array"),
    ("meshes.0.primitives.0.mode", 9, r"primitives\[0\]\.mode: must lie in 0 to 6"),
    (
        "meshes.0.primitives.0.attributes.POSITION",
        0,
        r"attributes\.POSITION: accessors\[0\] is of type \"VEC4\", not VEC3",
    ),
    ("meshes.0.primitives.0.indices", 99, r"indices: there is no accessors\[99\]"),
    ("accessors.1.count", 2**40, r"\$\.accessors\[1\]\.count: must lie in 1 to"),
    ("accessors.1.count", 2**30, r"\$\.accessors\[1\]: \d+ elements end at byte \d+"),
    ("accessors.1.count", 3, r"POSITION|has 3 entries|there are only 3"),
    ("accessors.1.componentType", 5124, r"\$\.accessors\[1\]\.componentType: 5124 is none of"),
    ("accessors.1.byteOffset", 8, r"elements end at byte"),
    ("accessors.1.bufferView", None, r"\$\.accessors\[1\]: has no bufferView"),
    ("accessors.0.sparse.count", 50, r"\$\.accessors\[0\]\.sparse\.count: must lie in 1 to 4"),
    ("bufferViews.1.byteLength", 10**9, r"\$\.bufferViews\[1\]: bytes \d+ to \d+ are beyond"),
    ("bufferViews.1.byteOffset", -4, r"\$\.bufferViews\[1\]\.byteOffset: must lie in 0"),
    ("bufferViews.2.byteStride", 4, r"are more than bufferViews\[2\]\.byteStride \(4\)"),
    ("images.0.bufferView", 2, r"\$\.images\[0\]: the image: not an image of a known format"),
    ("textures.0.source", 3, r"\$\.textures\[0\]\.source: there is no images\[3\]"),
    ("samplers.0.wrapS", 1, r"\$\.samplers\[0\]\.wrapS: 1 is none of"),
    ("materials.0.alphaMode", "MASKED", r'alphaMode: unknown value "MASKED" \(did you mean "MASK"\?\)'),
    ("materials.0.emissiveFactor", [-1, 0, 0], r"\$\.materials\[0\]\.emissiveFactor: must not be negative"),
    ("materials.0.extensions", {"KHR_materials_ior": {"ior": 0.5}}, r"KHR_materials_ior\.ior: must be at least 1"),
    ("materials.0.normalTexture", {}, r'\$\.materials\[0\]\.normalTexture: "index" is missing'),
    ("cameras.0.perspective.yfov", 4, r"\$\.cameras\[0\]\.perspective\.yfov: must lie between 0 and pi"),
    ("cameras.0.type", "fisheye", r"\$\.cameras\[0\]\.type: unknown value"),
    ("cameras.0.perspective.znear", None, r'"znear" is missing'),
    ("extensions.KHR_lights_punctual.lights.0.intensity", -1, r"lights\[0\]: color and intensity must not"),
    ("extensions.KHR_lights_punctual.lights", [], r"KHR_lights_punctual\.light: there is no light 0"),
    ("extensions.KHR_lights_punctual.lights.0.spot.innerConeAngle", 1, r"0 <= innerConeAngle \(1\) < outerConeAngle"),
]


@pytest.mark.parametrize(("path", "value", "message"), CASES, ids=[f"{path}={value}"[:50] for path, value, _ in CASES])
def test_errors_name_their_place(tmp_path, path, value, message):
    file = _full()
    _change(file, path, value)
    with pytest.raises(SceneError, match=message) as caught:
        read_gltf(file.write(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/scene.glb: $")
    assert len(str(caught.value).splitlines()) == 1


def test_the_undamaged_file_of_the_cases_is_valid(tmp_path):
    scene = read_gltf(_full().write(tmp_path))
    validate(scene.description)
    assert len(scene.description.shapes) == 1


def test_an_index_beyond_the_vertices(tmp_path):
    file = GltfFile()
    file.node(mesh=file.mesh(indices=(0, 1, 4)))
    with pytest.raises(SceneError, match=r"\$\.meshes\[0\]\.primitives\[0\]\.indices: a triangle uses vertex 4"):
        read_gltf(file.write(tmp_path))


def test_a_position_that_is_not_finite(tmp_path):
    file = GltfFile()
    file.node(mesh=file.mesh([(0, 0, 0), (np.nan, 0, 0), (0, 1, 0)], None))
    with pytest.raises(
        SceneError, match=r"\$\.meshes\[0\]\.primitives\[0\]\.attributes\.POSITION: vertex 1 is not finite"
    ):
        read_gltf(file.write(tmp_path))


def test_a_scene_without_triangles_is_refused(tmp_path):
    with pytest.raises(SceneError, match="the default scene has no triangles"):
        read_gltf(GltfFile().write(tmp_path))


@pytest.mark.parametrize(("mode", "what"), [(0, "points"), (1, "lines"), (2, "line loops"), (3, "line strips")])
def test_the_error_for_a_file_of_only_points_or_lines_says_so(tmp_path, mode, what):
    file = GltfFile()
    for _ in range(2):
        file.node(mesh=file.mesh(indices=(0, 1, 2), primitive={"mode": mode}))
    message = (
        rf"no triangles; \$\.meshes\[0\]\.primitives\[0\]\.mode: {what} are not supported and left out \(and 1 more\)"
    )
    with pytest.raises(SceneError, match=message):
        read_gltf(file.write(tmp_path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/etc/passwd", "must be a file name relative"),
        ("%2Fetc%2Fpasswd", "must be a file name relative"),
        ("file:///etc/passwd", "only data: URIs and relative file names"),
        ("https://example.org/a.bin", "only data: URIs and relative file names"),
        ("C:/a.bin", "only data: URIs and relative file names"),
        ("C%3A/a.bin", "must be a file name relative"),
        ("none.bin", "none.bin: there is no such file"),
        (".", "there is no such file"),
        ("a%00b", "there is no such file|cannot be opened"),
        ("%ff", "cannot be opened"),
        ("x" * 5000, "cannot be opened|no such file"),
        ("data:application/octet-stream;base64", "has no comma"),
        ("data:application/octet-stream;base64,@@@@", "is not base64"),
        ("data:application/octet-stream;base64,AAAA", "has 3 bytes, and byteLength is"),
        (7, "expected a string"),
    ],
)
def test_invalid_uris_are_refused(tmp_path, uri, message):
    file = GltfFile()
    file.node(mesh=file.mesh())
    file.root["buffers"] = [{"byteLength": len(file.buffer), "uri": uri}]
    path = tmp_path / "scene.gltf"
    path.write_text(json.dumps(file.root))
    with pytest.raises(SceneError, match=rf"\$\.buffers\[0\].*({message})"):
        read_gltf(path)


def _chunk(kind, data):
    return struct.pack("<I4s", len(data), kind) + data


@pytest.mark.parametrize("padding", ["counted", "not counted", "left out"])
@pytest.mark.parametrize("blanks", range(4))
def test_the_padding_of_chunks_may_be_missing(tmp_path, padding, blanks):
    """The format requires chunks to end at multiples of 4 bytes and to count their padding; all three variants occur."""
    file = GltfFile()
    file.node(mesh=file.mesh())
    file.root["buffers"] = [{"byteLength": len(file.buffer)}]
    text = json.dumps(file.root).encode()
    text += b" " * (-len(text) % 4 + blanks)
    chunks = b""
    for kind, data in ((b"JSON", text), (b"BIN\0", bytes(file.buffer))):
        gap = b" " * (-len(data) % 4) if padding != "left out" else b""
        chunks += _chunk(kind, data + gap) if padding == "counted" else _chunk(kind, data) + gap
    path = tmp_path / "scene.glb"
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    (mesh,) = read_gltf(path).meshes.values()
    np.testing.assert_array_equal(mesh.positions, QUAD)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"glTF", "the GLB header is truncated"),
        (struct.pack("<4sII", b"glTF", 1, 12), "GLB version 1 is not supported"),
        (struct.pack("<4sII", b"glTF", 2, 100), "the GLB is truncated: it should have 100 bytes and has 12"),
        (struct.pack("<4sII", b"glTF", 2, 12), "the first GLB chunk is not JSON"),
        (struct.pack("<4sII", b"glTF", 2, 20) + struct.pack("<I4s", 99, b"JSON"), "chunk at byte 12 is truncated"),
        (struct.pack("<4sII", b"glTF", 2, 24) + _chunk(b"BIN\0", b"{}  "), "the first GLB chunk is not JSON"),
        (struct.pack("<4sII", b"glTF", 2, 24) + _chunk(b"JSON", b"[]  "), "expected a JSON object"),
        (b"", "not a glTF file"),
        (b"\xff\xfe{}", "not a glTF file"),
        (b"[" * 100_000, "nested too deeply|not a glTF file"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_truncated_and_foreign_containers_are_refused(tmp_path, data, message):
    path = tmp_path / "scene.glb"
    path.write_bytes(data)
    with pytest.raises(SceneError, match=message):
        read_gltf(path)


@pytest.mark.parametrize("cut", [0.1, 0.4, 0.6, 0.9, 0.999])
def test_a_file_truncated_anywhere_is_refused(tmp_path, cut):
    data = _full().glb()
    path = tmp_path / "scene.glb"
    path.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(SceneError, match="is truncated"):
        read_gltf(path)


def test_damaged_files_give_a_scene_error_or_a_valid_scene(tmp_path):
    """Small files are randomly damaged: flipped bytes, changed numbers, exchanged values."""
    rng = np.random.default_rng(20)
    whole = _full().glb()
    path = tmp_path / "scene.glb"
    refused = 0
    for _ in range(FUZZED):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(len(data))] = rng.integers(256)
        refused += _survives(path, bytes(data))
    assert 0.1 * FUZZED < refused < 0.99 * FUZZED


def test_damaged_json_gives_a_scene_error_or_a_valid_scene(tmp_path):
    rng = np.random.default_rng(21)
    junk = [
        None,
        True,
        -1,
        0,
        1,
        2,
        255,
        2**31,
        2**63,
        1e39,
        -0.5,
        "",
        "x",
        [],
        {},
        [0],
        [[]],
        {"index": 0},
        [1e300] * 4,
    ]
    path = tmp_path / "scene.glb"
    refused = 0
    for _ in range(FUZZED):
        file = _full()
        for _ in range(rng.integers(1, 3)):
            holder, key = _anywhere(file.root, rng)
            if rng.random() < 0.2:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(junk[rng.integers(len(junk))])
        refused += _survives(path, file.glb())
    assert 0.3 * FUZZED < refused < 0.99 * FUZZED


def _anywhere(root, rng):
    """Choose a place in nested JSON, each with the same probability."""
    places = []
    stack = [root]
    while stack:
        holder = stack.pop()
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            places.append((holder, key))
            if isinstance(value, dict | list):
                stack.append(value)
    return places[rng.integers(len(places))]


def _survives(path, data) -> bool:
    """Read a file and return whether it was refused. Anything but a `SceneError` or a valid scene fails the test."""
    path.write_bytes(data)
    message = None
    try:
        validate(read_gltf(path).description, path)
    except SceneError as error:
        message = str(error)
    assert message is None or str(path) in message
    return message is not None
