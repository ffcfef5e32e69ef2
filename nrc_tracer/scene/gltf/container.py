"""The container of a glTF file: the chunks of a GLB, or the JSON text of a `.gltf`."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec

from nrc_tracer.errors import SceneError
from nrc_tracer.files.reading import reading

MAGIC = b"glTF"
HEADER_SIZE = 12
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942


def read_container(path: Path) -> tuple[dict[str, Any], memoryview | None]:
    """Read a glTF file, whose kind is recognized by its content, not by its name.

    Returns:
        The JSON object, and the bytes of a GLB's binary chunk if it has one.

    Raises:
        SceneError: The file cannot be read, is truncated, is of another version, or does not contain a JSON object.
    """
    with reading(path, SceneError):
        data = path.read_bytes()
    if not data.startswith(MAGIC):
        return _decode(path, data), None
    text, binary = _chunks(path, memoryview(data))
    return _decode(path, bytes(text)), binary


def _chunks(path: Path, data: memoryview) -> tuple[memoryview, memoryview | None]:
    if len(data) < HEADER_SIZE:
        raise SceneError(f"{path}: the GLB header is truncated")
    _, version, length = struct.unpack_from("<4sII", data)
    if version != 2:
        raise SceneError(f"{path}: GLB version {version} is not supported (only 2)")
    if length > len(data):
        raise SceneError(f"{path}: the GLB is truncated: it should have {length} bytes and has {len(data)}")
    chunks: dict[int, memoryview] = {}
    first = None
    offset = HEADER_SIZE
    while offset + 8 <= length:
        size, kind = struct.unpack_from("<II", data, offset)
        offset += 8
        if size > length - offset:
            raise SceneError(f"{path}: the GLB chunk at byte {offset - 8} is truncated: it claims {size} bytes")
        first = kind if first is None else first
        chunks.setdefault(kind, data[offset : offset + size])
        offset = _next_chunk(data[:length], offset + size)
    if first != JSON_CHUNK:
        raise SceneError(f"{path}: the first GLB chunk is not JSON")
    return chunks[JSON_CHUNK], chunks.get(BINARY_CHUNK)


def _next_chunk(data: memoryview, end: int) -> int:
    """Return where the chunk after one that ends at byte `end` begins: at the next multiple of 4, as the format demands.

    Some writers leave out the padding. Then the chunk begins at `end` itself, which is recognized by its type and size.
    """
    padded = end + -end % 4
    for offset in (padded, end):
        if offset + 8 <= len(data):
            size, kind = struct.unpack_from("<II", data, offset)
            if kind in (JSON_CHUNK, BINARY_CHUNK) and size <= len(data) - offset - 8:
                return offset
    return padded


def _decode(path: Path, text: bytes) -> dict[str, Any]:
    try:
        root = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf").rstrip(b"\0 \t\r\n"))
    except RecursionError as error:
        raise SceneError(f"{path}: the JSON is nested too deeply") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise SceneError(f"{path}: not a glTF file: {error}") from error
    if not isinstance(root, dict):
        raise SceneError(f"{path}: $: expected a JSON object")
    return root
