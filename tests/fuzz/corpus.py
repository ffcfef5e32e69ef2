"""Small valid files of every supported format, which the tests damage."""

from __future__ import annotations

import base64
import io
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from nrc_tracer.imaging import read_image
from nrc_tracer.imaging.files import write_image
from nrc_tracer.scene.load import load_scene


@dataclass(frozen=True)
class Sample:
    """A file format.

    Attributes:
        format: Name of the format.
        suffix: Extension of its files.
        files: Valid files.
        read: The reader.
        text: Whether it is a text format, whose words and numbers can be replaced.
    """

    format: str
    suffix: str
    files: tuple[bytes, ...]
    read: Callable[[Path], object]
    text: bool


POSITIONS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
INDICES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], dtype=np.int32)
NORMALS = (POSITIONS - 0.25) / np.linalg.norm(POSITIONS - 0.25, axis=1, keepdims=True)

SCENE = {
    "camera": {
        "type": "perspective",
        "to_world": [{"type": "look_at", "origin": [0, 1, 4], "target": [0, 0, 0]}],
        "fov": 40,
    },
    "film": {"width": 32, "height": 24, "filter": "gaussian"},
    "sampler": {"type": "sobol", "spp": 4},
    "integrator": {"max_depth": 6},
    "textures": {"squares": {"type": "checkerboard", "color0": 0.2, "color1": [0.5, 0.6, 0.7]}},
    "materials": {
        "floor": {"type": "diffuse", "reflectance": "squares"},
        "gold": {"type": "conductor", "eta": [0.14, 0.37, 1.44], "k": [3.98, 2.38, 1.6], "alpha": 0.2},
        "glass": {"type": "dielectric", "int_ior": 1.5},
        "paint": {"type": "principled", "base_color": [0.8, 0.2, 0.1], "metallic": 0.3, "roughness": 0.4},
        "holes": {"type": "mask", "material": "paint", "opacity": 0.5},
    },
    "shapes": [
        {"type": "rectangle", "material": "floor", "to_world": [{"type": "rotate", "axis": [1, 0, 0], "angle": -90}]},
        {"type": "sphere", "material": "gold", "radius": 0.5},
        {"type": "cube", "material": "holes", "emission": 2.0},
        {"type": "mesh", "positions": POSITIONS.tolist(), "indices": INDICES.tolist(), "material": "glass"},
    ],
    "lights": [{"type": "constant", "radiance": 0.3}, {"type": "point", "position": [0, 3, 0], "intensity": 5}],
}

XML = """<?xml version="1.0"?>
<scene version="3.0.0"><default name="spp" value="4"/>
<integrator type="path"><integer name="max_depth" value="5"/></integrator>
<sensor type="perspective"><float name="fov" value="40"/>
<transform name="to_world"><lookat origin="0,1,4" target="0,0,0" up="0,1,0"/></transform>
<sampler type="independent"><integer name="sample_count" value="$spp"/></sampler>
<film type="hdrfilm"><integer name="width" value="32"/><integer name="height" value="24"/><rfilter type="gaussian"/></film>
</sensor>
<bsdf type="twosided" id="m"><bsdf type="roughplastic"><rgb name="diffuse_reflectance" value="0.5,0.4,0.3"/>
<float name="alpha" value="0.1"/></bsdf></bsdf>
<shape type="sphere"><point name="center" x="0" y="0" z="0"/><float name="radius" value="0.5"/><ref id="m"/></shape>
<shape type="rectangle"><transform name="to_world"><rotate x="1" angle="-90"/><scale value="4"/></transform>
<bsdf type="diffuse"><texture name="reflectance" type="checkerboard"><rgb name="color0" value="#ff8000"/></texture></bsdf></shape>
<shape type="cube"><bsdf type="conductor"><spectrum name="eta" value="400:0.5, 700:1.5"/></bsdf>
<emitter type="area"><rgb name="radiance" value="1,2,3"/></emitter></shape>
<emitter type="constant"><spectrum name="radiance" value="0.4"/></emitter></scene>
"""

OBJ = "mtllib none.mtl\no tetrahedron\n" + "".join(
    [f"v {x} {y} {z}\n" for x, y, z in POSITIONS.tolist()]
    + ["vt 0 0\nvt 1 0\nvt 0.5 1\n"]
    + [f"vn {x} {y} {z}\n" for x, y, z in NORMALS.tolist()]
    + [f"f {a + 1}/1/{a + 1} {b + 1}/2/{b + 1} {c + 1}/3/{c + 1}\n" for a, b, c in INDICES.tolist()]
    + ["s 1\nusemtl grey\nf -4 -3 -2 -1\n"]
)

MTL = """# a library
newmtl paint
Kd 0.8 0.3 0.1
map_Kd -s 2 2 1 -o 0.5 0 0 -clamp on none.png
Ks 0.5 0.5 0.5
Ns 100
illum 2
newmtl glass
Ni 1.5
Tf 0.9 1 0.9
illum 7
newmtl gold
Kd 1 0.8 0.3
Pr 0.3
Pm 1
Pc 0.5
Pcr 0.1
map_bump -bm 0.1 -imfchan r none.png
newmtl lamp
Ke 5 5 4
d 0.5
"""


def read_library(path: Path) -> object:
    """Read a .mtl file through an OBJ file next to it that uses all of its materials."""
    obj = path.with_suffix(".obj")
    names = ("paint", "glass", "gold", "lamp")
    faces = "".join(f"usemtl {name}\nf {i + 1}/1 {i % 4 + 1}/2 {(i + 1) % 4 + 1}/3\n" for i, name in enumerate(names))
    obj.write_text(f"mtllib {path.name}\n{OBJ}{faces}")
    return load_scene(obj)


@cache
def samples() -> dict[str, Sample]:
    """All formats by name."""
    found = [
        Sample("json", ".json", (json.dumps(SCENE, indent=1).encode(),), load_scene, True),
        Sample("xml", ".xml", (XML.encode(),), load_scene, True),
        Sample("obj", ".obj", (OBJ.encode(),), load_scene, True),
        Sample("mtl", ".mtl", (MTL.encode(),), read_library, True),
        Sample("ply-text", ".ply", (_ply("ascii 1.0"),), load_scene, True),
        Sample(
            "ply-binary", ".ply", (_ply("binary_little_endian 1.0"), _ply("binary_big_endian 1.0")), load_scene, False
        ),
        Sample("stl-text", ".stl", (_stl_text(),), load_scene, True),
        Sample("stl-binary", ".stl", (_stl_binary(),), load_scene, False),
        Sample("gltf", ".gltf", (json.dumps(_gltf(embedded=True)).encode(),), load_scene, True),
        Sample("glb", ".glb", (_glb(),), load_scene, False),
        Sample(
            "png",
            ".png",
            (_picture("PNG", "RGB"), _picture("PNG", "P"), _picture("PNG", "LA"), _png16()),
            read_image,
            False,
        ),
        Sample("jpeg", ".jpg", (_picture("JPEG", "RGB"), _picture("JPEG", "L")), read_image, False),
        Sample("exr", ".exr", (_written(".exr"),), read_image, False),
        Sample("hdr", ".hdr", (_written(".hdr"),), read_image, False),
        Sample("webp", ".webp", (_picture("WEBP", "RGB"), _picture("WEBP", "RGBA")), read_source, False),
        Sample("gif", ".gif", (_picture("GIF", "RGB"),), read_source, False),
        Sample("tiff", ".tif", _tiffs(), read_source, False),
        Sample("polygons", ".obj", (POLYGONS.encode(),), load_scene, True),
        Sample("ply-attributes", ".ply", (_ply_attributes(),), load_scene, True),
        Sample("transforms", ".json", (_transforms(),), read_photographs("transforms.json"), True),
        *_colmap(),
    ]
    return {sample.format: sample for sample in found}


def read_source(path: Path) -> object:
    """Read an image as `fit image` does, and as a photograph."""
    from nrc_tracer.errors import DataError
    from nrc_tracer.tasks.image.opening import open_source
    from nrc_tracer.tasks.nerf.photographs import read_photograph

    try:
        read_photograph(path, "photograph")
    except DataError:
        open_source(path, 2**28)
        raise
    return open_source(path, 2**28)


def read_photographs(name: str) -> Callable[[Path], object]:
    """A reader of a set of photographs in which the file has the given name; the other files are whole."""

    def read(path: Path) -> object:
        from nrc_tracer.tasks.nerf.colmap_format import write_model
        from nrc_tracer.tasks.nerf.reading import read_views

        folder = path.parent / name.replace(".", "_").replace("/", "_")
        if not folder.exists():
            for i in range(3):
                (folder / "images").mkdir(parents=True, exist_ok=True)
                (folder / f"images/{i}.png").write_bytes(_picture("PNG", "RGB"))
            if name != "transforms.json":
                write_model(_model(), folder / "sparse/0", binary=name.endswith("bin"))
        target = folder / (name if name == "transforms.json" else f"sparse/0/{name}")
        target.write_bytes(path.read_bytes())
        views = read_views(folder)
        return [view.pixels for view in views.all]

    return read


def _views() -> list:
    from nrc_tracer.tasks.nerf.camera import PhotoCamera
    from nrc_tracer.tasks.nerf.scene_camera import looking_at
    from nrc_tracer.tasks.nerf.views import View

    places = np.array([[3.0, 0.0, 1.0], [0.0, 3.0, 1.0], [-3.0, 0.5, 1.0]])
    up = np.array([0.0, 0.0, 1.0])
    lens = (0.05, -0.02, 0.0, 0.0, 0.001, -0.002)
    cameras = [PhotoCamera(8, 8, 9.0, 9.5, 4.0, 4.25, lens, "opencv", looking_at(p, np.zeros(3), up)) for p in places]
    return [View(f"{i}.png", camera, np.zeros((8, 8, 3), np.uint8)) for i, camera in enumerate(cameras)]


def _model():
    from nrc_tracer.tasks.nerf.colmap import colmap_model

    return colmap_model(_views())


def _transforms() -> bytes:
    frames = [
        {
            "file_path": f"images/{view.name}",
            "transform_matrix": [*view.camera.to_world.tolist(), [0.0, 0.0, 0.0, 1.0]],
        }
        for view in _views()
    ]
    root = {"w": 8, "h": 8, "fl_x": 9.0, "fl_y": 9.5, "cx": 4.0, "cy": 4.25, "k1": 0.05, "p2": -0.002, "aabb_scale": 4}
    return json.dumps({**root, "camera_model": "OPENCV", "frames": frames}, indent=1).encode()


def _colmap() -> list[Sample]:
    from nrc_tracer.tasks.nerf.colmap_format import write_model

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for binary, ending in ((False, "txt"), (True, "bin")):
            write_model(_model(), Path(folder), binary=binary)
            for name in ("cameras", "images"):
                data = (Path(folder) / f"{name}.{ending}").read_bytes()
                reader = read_photographs(f"{name}.{ending}")
                found.append(Sample(f"colmap-{name}-{ending}", f".{ending}", (data,), reader, not binary))
    return found


POLYGONS = (
    "v 0 0 0\nv 2 0 0\nv 2 2 0\nv 1 0.5 0\nv 0 2 0\nv 0 0 1\nv 1 0 1\nv 2 2 1\nv 500000 5500000 0\nv 500001 5500000 0\n"
    "s off\nf 1 2 3 4 5\ns 1\nf 1 2 7 6\nf 6 7 8 5 4 3\nf 9 10 3\nf 1 1 2 3\n"
)
"""Polygons that are not convex, not flat, large and small, with corners that repeat."""


def _ply_attributes() -> bytes:
    head = (
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty double x\nproperty double y\nproperty double z\n"
        "property float color_0\nproperty float color_1\nproperty float color_2\nproperty float s\nproperty float t\n"
        "element face 4\nproperty list uchar int vertex_index\nproperty float face_color_r\nend_header\n"
    )
    body = "".join(f"{x} {y} {z} 0.5 1 0 0.25 0.75\n" for x, y, z in POSITIONS.tolist())
    return (head + body + "".join(f"3 {a} {b} {c} 0.5\n" for a, b, c in INDICES.tolist())).encode()


def _tiffs() -> tuple[bytes, ...]:
    pixels = np.random.default_rng(1).integers(0, 255, (24, 17, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels), Image.fromarray(pixels[..., 0]), Image.fromarray(pixels).convert("CMYK")]
    found = []
    for image, compression in zip(
        (images[0], images[0], images[1], images[2], images[0]),
        ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "raw", "raw"),
        strict=True,
    ):
        stream = io.BytesIO()
        image.save(stream, "TIFF", compression=compression, tiffinfo={274: 6} if compression == "raw" else {278: 8})
        found.append(stream.getvalue())
    return tuple(found)


def _ply(kind: str) -> bytes:
    head = (
        f"ply\nformat {kind}\ncomment a tetrahedron\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
    ).encode()
    if kind.startswith("ascii"):
        body = "".join(f"{x} {y} {z} 255 128 0\n" for x, y, z in POSITIONS.tolist())
        return head + (body + "".join(f"3 {a} {b} {c}\n" for a, b, c in INDICES.tolist())).encode()
    order = "<" if "little" in kind else ">"
    vertices = b"".join(struct.pack(order + "3f3B", *p, 255, 128, 0) for p in POSITIONS.tolist())
    return head + vertices + b"".join(struct.pack(order + "B3i", 3, *t) for t in INDICES.tolist())


def _stl_text() -> bytes:
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join("vertex {} {} {}\n".format(*p) for p in POSITIONS[t].tolist())
        + "endloop\nendfacet\n"
        for t in INDICES
    )
    return f"solid tetrahedron\n{facets}endsolid\n".encode()


def _stl_binary() -> bytes:
    facets = b"".join(struct.pack("<12fH", 0, 0, 0, *POSITIONS[t].ravel().tolist(), 0) for t in INDICES)
    return b"binary".ljust(80, b"\0") + struct.pack("<I", len(INDICES)) + facets


def _buffer() -> bytes:
    uv = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32)
    picture = _picture("PNG", "RGBA", 4)
    parts = [POSITIONS, NORMALS.astype(np.float32), uv, INDICES.astype(np.uint16)]
    return b"".join(part.tobytes() for part in parts) + picture


def _gltf(*, embedded: bool) -> dict:
    data = _buffer()
    buffer = {"byteLength": len(data)}
    if embedded:
        buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    sizes = [48, 48, 32, 24, len(data) - 152]
    views, offset = [], 0
    for size in sizes:
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": size})
        offset += size
    accessor = [
        {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 1]},
        {"bufferView": 1, "componentType": 5126, "count": 4, "type": "VEC3"},
        {"bufferView": 2, "componentType": 5126, "count": 4, "type": "VEC2"},
        {"bufferView": 3, "componentType": 5123, "count": 12, "type": "SCALAR"},
    ]
    material = {
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.5, "roughnessFactor": 0.4},
        "alphaMode": "BLEND",
        "emissiveFactor": [0.1, 0, 0],
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 3}},
    }
    primitive = {"attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2}, "indices": 3, "material": 0}
    return {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_materials_emissive_strength", "KHR_lights_punctual"],
        "extensions": {"KHR_lights_punctual": {"lights": [{"type": "point", "intensity": 5, "color": [1, 1, 0]}]}},
        "scene": 0,
        "scenes": [{"nodes": [0, 2, 3]}],
        "nodes": [
            {"mesh": 0, "children": [1], "translation": [0, 1, 0]},
            {"mesh": 0, "rotation": [0, 0.7071068, 0, 0.7071068], "scale": [1, 2, 1]},
            {"camera": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 5, 1]},
            {"extensions": {"KHR_lights_punctual": {"light": 0}}, "translation": [0, 4, 0]},
        ],
        "cameras": [{"type": "perspective", "perspective": {"yfov": 0.7, "znear": 0.1, "aspectRatio": 1.5}}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [material],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"wrapS": 33071, "wrapT": 33648}],
        "images": [{"bufferView": 4, "mimeType": "image/png"}],
        "accessors": accessor,
        "bufferViews": views,
        "buffers": [buffer],
    }


def _glb() -> bytes:
    text = json.dumps(_gltf(embedded=False)).encode()
    text += b" " * (-len(text) % 4)
    data = _buffer()
    data += b"\0" * (-len(data) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _picture(kind: str, mode: str, size: int = 8) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (size, size, 4), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode if mode != "P" else "RGB").convert(mode).save(stream, kind)
    return stream.getvalue()


def _png16() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(stream, "PNG")
    return stream.getvalue()


def _written(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"image{suffix}"
        write_image(path, np.random.default_rng(2).random((9, 12, 3), dtype=np.float32))
        return path.read_bytes()
