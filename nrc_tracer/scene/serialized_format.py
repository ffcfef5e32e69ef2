"""Mitsuba's serialized meshes, versions 3 and 4: one or more zlib streams and a table of their offsets.

Source: the documentation of Mitsuba 3's plugin `serialized`. All numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.geometry import smooth_normals, unit_normals
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.positions import stored_positions

IDENTIFIER = 0x041C
HAS_NORMALS, HAS_UVS, HAS_COLORS, DOUBLE = 0x0001, 0x0002, 0x0008, 0x2000
CHUNK = 1 << 20
"""Amount of data read and decompressed at a time [bytes]."""
MAX_NAME = 1 << 16
"""Largest accepted length of the name of a mesh [bytes]."""
MAX_INFLATION = 1100
"""Bound on the ratio of decompressed to compressed size; that of zlib is 1032 at most."""


def read_serialized(path: Path, index: int = 0) -> TriangleMesh:
    """Read one mesh of a file, with its normals, texture coordinates and colours.

    Without normals, smooth ones are averaged over the faces around each vertex, as in Mitsuba.

    Args:
        path: The file.
        index: Index of the mesh in the file, from 0.

    Raises:
        SceneError: The file is truncated, malformed or of another version, has no such mesh, or a vertex index is out
            of range.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        version = _read_header(file, path, 0, size)
        offset, end = _extent(file, path, index, size, version)
        if _read_header(file, path, offset, size) != version:
            raise SceneError(f"{path}: mesh {index} is of another version than the file")
        stream = _Inflated(file, path, end - offset - 4)
        return _read_mesh(stream, version)


def _read_header(file: BinaryIO, path: Path, offset: int, size: int) -> int:
    """Read the header at the beginning of a mesh and return its version."""
    if offset + 4 > size:
        raise SceneError(f"{path}: truncated, or not a serialized mesh: {size} bytes")
    file.seek(offset)
    identifier, version = struct.unpack("<HH", file.read(4))
    if identifier != IDENTIFIER:
        raise SceneError(
            f"{path}: not a serialized mesh: it begins with {identifier:#06x} instead of {IDENTIFIER:#06x}"
        )
    if version not in (3, 4):
        raise SceneError(f"{path}: version {version} of serialized meshes is not supported (supported: 3 and 4)")
    return version


def _extent(file: BinaryIO, path: Path, index: int, size: int, version: int) -> tuple[int, int]:
    """Return the offset of a mesh, and an upper bound of its end."""
    width = 8 if version == 4 else 4
    if index == 0:  # does not need the table
        return 0, size
    if size < 8:
        raise SceneError(f"{path}: truncated: {size} bytes are too few for a table of meshes")
    file.seek(size - 4)
    count = int.from_bytes(file.read(4), "little")
    table = size - 4 - width * count
    if table < 4:
        raise SceneError(f"{path}: truncated, or not a serialized mesh: it claims to have {count} meshes")
    if index >= count:
        raise SceneError(f"{path}: there is no mesh {index}: the file has {count}, counted from 0")
    file.seek(table + width * index)
    offset = int.from_bytes(file.read(width), "little")
    if offset + 4 > table:
        raise SceneError(f"{path}: mesh {index} begins at byte {offset}, beyond the meshes' end at {table}")
    return offset, table


class _Inflated:
    """A zlib stream that is decompressed piece by piece, and only as far as needed."""

    def __init__(self, file: BinaryIO, path: Path, compressed: int) -> None:
        self.file = file
        self.path = path
        self.left = compressed
        self.limit = compressed * MAX_INFLATION
        self.inflater = zlib.decompressobj()
        self.buffer = b""

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes. Raises `SceneError` if the stream is shorter."""
        parts = []
        while count > 0:
            if not self.buffer:
                self.buffer = self._more()
            parts.append(self.buffer[:count])
            count -= len(parts[-1])
            self.buffer = self.buffer[len(parts[-1]) :]
        return b"".join(parts)

    def array(self, dtype: str, shape: tuple[int, int]) -> np.ndarray:
        """Return an array, its size checked before it is allocated."""
        size = shape[0] * shape[1] * np.dtype(dtype).itemsize
        if size > self.limit:
            raise SceneError(f"{self.path}: truncated or malformed: {shape[0]} entries do not fit into the file")
        return np.frombuffer(self.read(size), dtype=dtype).reshape(shape)

    def _more(self) -> bytes:
        while True:
            source = self.inflater.unconsumed_tail
            if not source and not self.inflater.eof:
                source = self.file.read(min(CHUNK, self.left))
                self.left -= len(source)
            if not source:
                raise SceneError(f"{self.path}: truncated in a mesh")
            try:
                data = self.inflater.decompress(source, CHUNK)
            except zlib.error as error:
                raise SceneError(f"{self.path}: a mesh cannot be decompressed: {error}") from error
            if data:
                return data


def _read_mesh(stream: _Inflated, version: int) -> TriangleMesh:
    (flags,) = struct.unpack("<I", stream.read(4))
    if version == 4:
        for _ in range(MAX_NAME):
            if stream.read(1) == b"\0":
                break
        else:
            raise SceneError(f"{stream.path}: malformed: the name of a mesh does not end")
    vertex_count, face_count = struct.unpack("<QQ", stream.read(16))
    if max(vertex_count, face_count) >= 2**31:
        raise SceneError(f"{stream.path}: malformed: a mesh of {vertex_count} vertices and {face_count} triangles")
    number = "<f8" if flags & DOUBLE else "<f4"
    positions = stream.array(number, (vertex_count, 3))
    normals = stream.array(number, (vertex_count, 3)) if flags & HAS_NORMALS else None
    uvs = stream.array(number, (vertex_count, 2)) if flags & HAS_UVS else None
    rgb = stream.array(number, (vertex_count, 3)) if flags & HAS_COLORS else None
    faces = stream.array("<u4", (face_count, 3))
    if face_count and faces.max() >= vertex_count:
        raise SceneError(
            f"{stream.path}: vertex index {faces.max()} is out of range: a mesh has {vertex_count} vertices"
        )
    indices = faces.astype(np.int32)
    with np.errstate(over="ignore", invalid="ignore"):
        positions = stored_positions(positions.astype(positions.dtype.newbyteorder("=")))
        uvs = None if uvs is None else uvs.astype(np.float32)
        colors = None
        if rgb is not None:
            colors = np.column_stack((np.nan_to_num(rgb), np.ones(vertex_count))).astype(np.float32)
        if normals is None:
            return TriangleMesh(positions, indices, smooth_normals(positions, indices), uvs, colors, True)
        return TriangleMesh(positions, indices, unit_normals(normals, positions, indices), uvs, colors)
