"""STL, binary and ASCII: separate triangles without vertex normals or texture coordinates."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.positions import stored_positions

HEADER = 84
"""Size of the header of a binary file, with the number of triangles [bytes]."""
RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(path: Path) -> TriangleMesh:
    """Read an STL file as flat triangles that share no vertices. The winding determines the outside; stated normals are ignored.

    Raises:
        SceneError: The file is truncated or not STL.
    """
    size = os.path.getsize(path)
    with path.open("rb") as stream:
        header = stream.read(HEADER)
        count = int.from_bytes(header[80:84], "little")
        expected = HEADER + count * RECORD.itemsize
        if len(header) == HEADER and size >= expected and not (_is_ascii(header) and size != expected):
            corners = np.frombuffer(stream.read(count * RECORD.itemsize), dtype=RECORD)["corners"]
        elif _is_ascii(header):
            corners = _read_ascii(path, header + stream.read())
        elif len(header) < HEADER:
            raise SceneError(f"{path}: not an STL file: {size} bytes are too few")
        else:
            raise SceneError(f"{path}: truncated or not STL: {count} triangles need {expected} bytes, it has {size}")
    positions = stored_positions(np.array(corners).reshape(-1, 3))
    return TriangleMesh(positions, np.arange(len(positions), dtype=np.int32).reshape(-1, 3))


def _is_ascii(header: bytes) -> bool:
    return header.lstrip()[:5].lower() == b"solid"


def _read_ascii(path: Path, data: bytes) -> np.ndarray:
    """Read the corners of all facets, shape [3 * facet_count, 3]."""
    words = data.lower().split()
    corners = []
    in_facet = 0
    for place, word in enumerate(words):
        if word == b"vertex":
            try:
                corners.append([float(value) for value in words[place + 1 : place + 4]])
            except ValueError as error:
                text = b" ".join(words[place : place + 4]).decode("utf-8", "replace")
                raise SceneError(f'{path}: "{text}" is not a vertex with three numbers') from error
            in_facet += 1
            if len(corners[-1]) != 3:
                raise SceneError(f"{path}: truncated after {len(corners) // 3} triangles")
        elif word == b"endfacet":
            if in_facet != 3:
                raise SceneError(f"{path}: facet {len(corners) // 3} has {in_facet} vertices, not 3")
            in_facet = 0
    if in_facet or b"endsolid" not in words:
        raise SceneError(f"{path}: truncated: the ASCII STL file has no endsolid")
    return np.array(corners, dtype=np.float64).reshape(-1, 3)
