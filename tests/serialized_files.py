"""Writes Mitsuba's serialized meshes."""

from __future__ import annotations

import struct
import zlib

import numpy as np

POSITIONS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def mesh_bytes(
    positions=POSITIONS, faces=FACES, normals=None, uvs=None, colors=None, *, version=4, double=False
) -> bytes:
    """One mesh with its header."""
    given = [(normals, 1), (uvs, 2), (colors, 8)]
    flags = sum(flag for values, flag in given if values is not None) | (0x2000 if double else 0x1000)
    kind = "<f8" if double else "<f4"
    body = struct.pack("<I", flags) + (b"a shape\0" if version == 4 else b"")
    body += struct.pack("<QQ", len(positions), len(faces)) + positions.astype(kind).tobytes()
    body += b"".join(values.astype(kind).tobytes() for values, _ in given if values is not None)
    return struct.pack("<HH", 0x041C, version) + zlib.compress(body + faces.astype("<u4").tobytes())


def file_bytes(*meshes: bytes, version: int = 4) -> bytes:
    """A file of several meshes, followed by the table of their offsets."""
    offsets = np.cumsum([0, *(len(mesh) for mesh in meshes)])[:-1]
    table = offsets.astype("<u8" if version == 4 else "<u4").tobytes()
    return b"".join(meshes) + table + struct.pack("<I", len(meshes))
