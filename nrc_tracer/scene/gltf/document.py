"""A whole glTF file: its JSON, its buffers, the files beside it, and its extensions."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.gltf.container import read_container
from nrc_tracer.scene.gltf.entry import Entry, JsonFile

SUPPORTED = {
    "KHR_lights_punctual",
    "KHR_materials_clearcoat",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_unlit",
    "KHR_materials_volume",
    "KHR_mesh_quantization",
    "KHR_texture_transform",
}
"""Supported extensions. Another one is an error if the file requires it, and a warning if the file only uses it."""
COMPRESSED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression"}
"""Extensions that compress meshes."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class View(NamedTuple):
    """A part of a buffer, and the distance between its elements [bytes] if the file states it."""

    data: memoryview
    stride: int | None


class Document(JsonFile):
    """A glTF file. Buffers are opened when they are first used."""

    def __init__(self, path: Path) -> None:
        value, self._binary = read_container(path)
        super().__init__(path, value)
        self._buffers: dict[int, memoryview] = {}
        asset = self.root.entry("asset")
        if asset is None:
            self.root.fail('"asset" is missing, so this is not a glTF file')
        version = asset.string("version")
        if version.partition(".")[0] != "2" or asset.string("minVersion", "2.0") not in ("2.0",):
            asset.fail(f'glTF version "{version[:20]}" is not supported (only 2.0)', "version")
        self._check_extensions()

    def view(self, index: int) -> View:
        """Return a buffer view.

        Raises:
            SceneError: It reaches beyond its buffer, or the buffer cannot be read.
        """
        view = self.get("bufferViews", index)
        data = self._buffer(view.required_reference("buffer", "buffers"))
        offset, length = view.integer("byteOffset", 0), view.integer("byteLength", low=1)
        if offset + length > len(data):
            view.fail(f"bytes {offset} to {offset + length} are beyond the buffer's {len(data)}")
        stride = view.integer("byteStride", low=4, high=252) if "byteStride" in view else None
        return View(data[offset : offset + length], stride)

    def file(self, entry: Entry) -> Path | bytes:
        """Resolve an object's `uri`: to the bytes of a data URI, or to a file beside this one.

        Raises:
            SceneError: The URI is malformed, has another scheme or is absolute, or the file does not exist.
        """
        uri = entry.string("uri")
        if uri[:5].lower() == "data:":
            return _decode_data_uri(entry, uri)
        if _SCHEME.match(uri):
            entry.fail("only data: URIs and relative file names are supported", "uri")
        try:
            name = unquote_to_bytes(uri).decode()
            if name.startswith(("/", "\\")) or not name or _SCHEME.match(name):
                entry.fail("must be a file name relative to the scene's folder", "uri")
            file = self.path.parent / name
            if not file.is_file():
                entry.fail(f"{file}: there is no such file", "uri")
        except (ValueError, OSError) as error:  # not UTF-8, a null character, a name too long
            entry.fail(f"{uri[:80]!r} cannot be opened: {error}", "uri")
        return file

    def _buffer(self, index: int) -> memoryview:
        if index not in self._buffers:
            entry = self.get("buffers", index)
            length = entry.integer("byteLength", low=1)
            self._buffers[index] = self._read_buffer(entry, index, length)
        return self._buffers[index]

    def _read_buffer(self, entry: Entry, index: int, length: int) -> memoryview:
        if "uri" in entry:
            source = self.file(entry)
            if isinstance(source, bytes):
                data = memoryview(source)
            else:
                size = source.stat().st_size
                if size < length:
                    entry.fail(f"{source}: has {size} bytes, and byteLength is {length}")
                try:
                    with source.open("rb") as stream:
                        data = memoryview(stream.read(length))
                except OSError as error:
                    entry.fail(f"{source}: cannot be read: {error.strerror or error}")
        elif index == 0 and self._binary is not None:
            data = self._binary
        else:
            entry.fail("has no data (neither a uri nor the GLB's binary chunk; is the file compressed?)")
        if len(data) < length:
            entry.fail(f"has {len(data)} bytes, and byteLength is {length}")
        return data[:length]

    def _check_extensions(self) -> None:
        for index, name in enumerate(self.root.strings("extensionsRequired")):
            place = f"{self.path}: $.extensionsRequired[{index}]"
            if name in COMPRESSED:
                raise SceneError(f"{place}: {name} is not supported; save the file without compression")
            if name not in SUPPORTED:
                raise SceneError(f'{place}: the file requires the extension "{name[:80]}", which is not supported')
        for index, name in enumerate(self.root.strings("extensionsUsed")):
            if name not in SUPPORTED:
                self.warn(f"$.extensionsUsed[{index}]", f"{name[:80]} is not supported and left out")


def _decode_data_uri(entry: Entry, uri: str) -> bytes:
    header, comma, payload = uri.partition(",")
    if not comma:
        entry.fail("the data: URI has no comma", "uri")
    if not header.lower().endswith(";base64"):
        return unquote_to_bytes(payload)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        entry.fail(f"the data: URI is not base64: {error}", "uri")
