"""Small glTF files for tests. Arrays are put into one buffer, with accessors and buffer views for them."""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path

import numpy as np
import PIL.Image

TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
CODES = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
QUAD = ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))
QUAD_UV = ((0, 1), (1, 1), (1, 0), (0, 0))
QUAD_INDICES = (0, 1, 2, 0, 2, 3)


class GltfFile:
    """A file under construction: `root` is its JSON, `buffer` its bytes."""

    def __init__(self) -> None:
        self.root = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}]}
        self.buffer = bytearray()

    def add(self, kind: str, **value) -> int:
        """Append an object to one of the file's arrays; return its index."""
        self.root.setdefault(kind, []).append(value)
        return len(self.root[kind]) - 1

    def view(self, data: bytes, **more) -> int:
        self.buffer += b"\0" * (-len(self.buffer) % 4)
        offset = len(self.buffer)
        self.buffer += data
        return self.add("bufferViews", buffer=0, byteOffset=offset, byteLength=len(data), **more)

    def accessor(self, values, dtype="float32", **more) -> int:
        array = np.asarray(values, dtype)
        array = array[:, None] if array.ndim == 1 else array
        view = self.view(array.astype(array.dtype.newbyteorder("<")).tobytes())
        common = {"componentType": CODES[dtype], "count": len(array), "type": TYPES[array.shape[1]]}
        return self.add("accessors", bufferView=view, **common, **more)

    def image(self, pixels, kind="PNG", **more) -> int:
        """Append an image, and a texture that shows it; return the texture's index."""
        stream = io.BytesIO()
        PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(stream, kind)
        source = self.add("images", bufferView=self.view(stream.getvalue()), mimeType=f"image/{kind.lower()}")
        return self.add("textures", source=source, **more)

    def mesh(self, positions=QUAD, indices=QUAD_INDICES, primitive=None, **attributes) -> int:
        """Append a mesh of one primitive; attributes are arrays, or indices of accessors."""
        names = {"POSITION": self.accessor(positions)}
        for name, values in attributes.items():
            names[name] = values if isinstance(values, int) else self.accessor(values)
        value = {"attributes": names, **(primitive or {})}
        if indices is not None:
            value["indices"] = self.accessor(indices, "uint16")
        return self.add("meshes", primitives=[value])

    def node(self, root=True, **value) -> int:
        index = self.add("nodes", **value)
        if root:
            self.root["scenes"][0]["nodes"].append(index)
        return index

    def quad(self, **material) -> None:
        """Append a textured quad with a material, at the origin."""
        index = self.add("materials", **material)
        self.node(mesh=self.mesh(primitive={"material": index}, TEXCOORD_0=QUAD_UV))

    def glb(self) -> bytes:
        """The file as GLB."""
        root = dict(self.root)
        if self.buffer:
            root["buffers"] = [{"byteLength": len(self.buffer)}]
        text = json.dumps(root).encode()
        text += b" " * (-len(text) % 4)
        data = bytes(self.buffer) + b"\0" * (-len(self.buffer) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        if data:
            chunks += struct.pack("<I4s", len(data), b"BIN\0") + data
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def write(self, folder: Path, name: str = "scene.glb") -> Path:
        """Write the file as GLB, or as JSON with the buffer in a data URI if its name ends in .gltf."""
        path = folder / name
        if path.suffix == ".glb":
            path.write_bytes(self.glb())
            return path
        uri = "data:application/octet-stream;base64," + base64.b64encode(self.buffer).decode()
        root = {**self.root, "buffers": [{"byteLength": len(self.buffer), "uri": uri}]} if self.buffer else self.root
        path.write_text(json.dumps(root))
        return path


def sphere(rings: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of a unit sphere, which are also its normals, and triangles."""
    theta, phi = np.linspace(0.0, np.pi, rings + 1), np.linspace(0.0, 2.0 * np.pi, 2 * rings, endpoint=False)
    t, p = (a.ravel() for a in np.meshgrid(theta, phi, indexing="ij"))
    points = np.column_stack((np.sin(t) * np.cos(p), np.cos(t), np.sin(t) * np.sin(p)))
    row, column = (a.ravel() for a in np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij"))
    a, b = row * 2 * rings + column, row * 2 * rings + (column + 1) % (2 * rings)
    c, d = a + 2 * rings, b + 2 * rings
    upper, lower = np.column_stack((a, b, c)), np.column_stack((b, d, c))
    return points, np.concatenate((upper[row > 0], lower[row < rings - 1]))
