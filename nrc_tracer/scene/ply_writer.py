"""Writing binary PLY files that `read_ply` reads back bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nrc_tracer.files.atomic import replacing
from nrc_tracer.scene.model import TriangleMesh


def write_ply(mesh: TriangleMesh, path: str | Path) -> None:
    """Write positions, normals, texture coordinates (u, v), colours (linear, as floats) and triangles.

    An existing file is replaced only when the new one is complete. `read_ply` gives a mesh without normals smooth ones, as PLY
    cannot state that a mesh is flat.

    Raises:
        OutputError: The file cannot be written.
    """
    parts = (
        (("x", "y", "z"), mesh.positions),
        (("nx", "ny", "nz"), mesh.normals),
        (("u", "v"), mesh.uvs),
        (("red", "green", "blue", "alpha"), mesh.colors),
    )
    present = [(names, values) for names, values in parts if values is not None]
    properties = [name for names, _ in present for name in names]
    vertices = np.concatenate([np.asarray(values, "<f4") for _, values in present], axis=1)
    faces = np.zeros(len(mesh.indices), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    faces["count"], faces["corners"] = 3, mesh.indices
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in properties),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write("".join(f"{line}\n" for line in header).encode("ascii"))
        file.write(np.ascontiguousarray(vertices).tobytes())
        file.write(faces.tobytes())
