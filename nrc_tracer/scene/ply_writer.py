"""Writing binary PLY files that `read_ply` reads back bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nrc_tracer.files.atomic import replacing
from nrc_tracer.scene.mesh_attributes import COLOR_NAMES, FACE, VERTEX
from nrc_tracer.scene.model import TriangleMesh


def write_ply(mesh: TriangleMesh, path: str | Path) -> None:
    """Write positions, normals, texture coordinates (u, v), colours (linear, as floats) and triangles.

    An existing file is replaced only when the new one is complete. `read_ply` gives a mesh without normals smooth ones, as PLY
    cannot state that a mesh is flat.

    Raises:
        OutputError: The file cannot be written.
    """
    parts: tuple[tuple[tuple[str, ...], np.ndarray | None], ...] = (
        (("x", "y", "z"), mesh.positions),
        (("nx", "ny", "nz"), mesh.normals),
        (("u", "v"), mesh.uvs),
        (("red", "green", "blue", "alpha"), mesh.colors),
    )
    present = [(names, values) for names, values in parts if values is not None]
    present += _attributes(mesh, VERTEX)
    properties = [name for names, _ in present for name in names]
    layout: list[tuple] = [(name, "<f4") for name in properties]
    kind = "double" if mesh.positions.dtype == np.float64 else "float"
    layout[:3] = [(name, "<f8" if kind == "double" else "<f4") for name in properties[:3]]
    vertices = np.zeros(len(mesh.positions), np.dtype(layout))
    for names, values in present:
        for name, column in zip(names, values.T, strict=True):
            vertices[name] = column
    of_faces = _attributes(mesh, FACE)
    fields: list[tuple] = [("count", "u1"), ("corners", "<i4", 3), *(("".join(n), "<f4", len(n)) for n, _ in of_faces)]
    faces = np.zeros(len(mesh.indices), np.dtype(fields))
    faces["count"], faces["corners"] = 3, mesh.indices
    for names, values in of_faces:
        faces["".join(names)] = values
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertices)}",
        *(f"property {kind} {name}" for name in properties[:3]),
        *(f"property float {name}" for name in properties[3:]),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        *(f"property float {name}" for names, _ in of_faces for name in names),
        "end_header",
    ]
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write("".join(f"{line}\n" for line in header).encode("ascii", "replace"))
        file.write(vertices.tobytes())
        file.write(faces.tobytes())


def _attributes(mesh: TriangleMesh, kind: str) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Return the properties of each attribute of vertices or faces, and its values; of a colour, also the opacity."""
    found: list[tuple[tuple[str, ...], np.ndarray]] = []
    for name, values in mesh.attributes.items():
        if not name.startswith(f"{kind}_") or (name == "vertex_color" and mesh.colors is not None):
            continue
        if name == f"{kind}_color":
            found.append((COLOR_NAMES[0], values))
        else:
            found.append((tuple(f"{name[len(kind) + 1 :]}_{place}" for place in range(3)), values[:, :3]))
    return found
