"""Attributes of vertices and faces that mesh files hold besides positions, normals and texture coordinates.

They have the names that Mitsuba gives them: `vertex_` or `face_`, then the name of the PLY properties without their endings.
Properties `Col_0`, `Col_1`, `Col_2` (or `_x`, `_y`, `_z`) of the vertices are `vertex_Col`; with the endings `_r`, `_g`, `_b`
they are `vertex_Col_color`; `red`, `green`, `blue` of the faces are `face_color`. A property without such an ending is an
attribute of its own, which Mitsuba does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.vertex_colors import linear_colors

VERTEX, FACE = "vertex", "face"
COLOR_NAMES = (
    ("red", "green", "blue", "alpha"),
    ("r", "g", "b", "a"),
    ("color_0", "color_1", "color_2", "color_3"),  # Mitsuba's own files
)
"""Properties that are the colour of a vertex or a face, with its opacity."""
UV_NAMES = (("u", "v"), ("s", "t"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
"""Properties that are texture coordinates."""
GEOMETRY = frozenset(("x", "y", "z", "nx", "ny", "nz", *(name for names in UV_NAMES for name in names)))
"""Properties that are not attributes."""
_ENDINGS = {"0": 0, "1": 1, "2": 2, "x": 0, "y": 1, "z": 2, "r": 0, "g": 1, "b": 2}


def color_columns(columns: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """Return the columns for red, green, blue and, if there is one, opacity; None if a colour is missing."""
    names = next((names for names in COLOR_NAMES if set(names[:3]) <= columns.keys()), None)
    return [columns[name] for name in names if name in columns] if names else None


def named_columns(kind: str, columns: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Return the columns of each attribute, one or three, by the attribute's name; colours may have a fourth one.

    Args:
        kind: What has the properties, "vertex" or "face".
        columns: The properties by their names.
    """
    found: dict[str, list[np.ndarray]] = {}
    colors = color_columns(columns)
    if colors is not None:
        found[f"{kind}_color"] = colors
    parts: dict[str, dict[int, np.ndarray]] = {}
    for name, column in columns.items():
        prefix, _, ending = name.rpartition("_")
        if name in GEOMETRY:
            continue
        if prefix and ending in _ENDINGS:
            whole = f"{prefix}_color" if ending in "rgb" else prefix
            parts.setdefault(f"{kind}_{whole}", {})[_ENDINGS[ending]] = column
        else:
            found.setdefault(f"{kind}_{name}", [column])
    for name, by_place in parts.items():
        if sorted(by_place) in ([0], [0, 1, 2]):
            found.setdefault(name, [by_place[place] for place in sorted(by_place)])
    return found


def attribute_values(columns: list[np.ndarray]) -> np.ndarray:
    """Return an attribute as colours and opacities that are not negative, shape [count, 4], float32; a single number is grey."""
    colors = linear_colors(columns if len(columns) > 1 else [_fractions(columns[0])] * 3)
    return np.maximum(colors, np.float32(0.0))


def with_attribute(mesh: TriangleMesh, name: str) -> TriangleMesh:
    """Return a mesh whose vertex colours are one of its attributes; without that attribute, it has none and counts as white.

    For an attribute of faces every triangle gets three vertices of its own.
    """
    values = mesh.attributes.get(name)
    if values is None:
        return replace(mesh, colors=None, attributes={})
    if not name.startswith(f"{FACE}_"):
        return replace(mesh, colors=values, attributes={})
    corners = mesh.indices.ravel()
    return replace(
        mesh,
        positions=mesh.positions[corners],
        indices=np.arange(len(corners), dtype=np.int32).reshape(-1, 3),
        normals=None if mesh.normals is None else mesh.normals[corners],
        uvs=None if mesh.uvs is None else mesh.uvs[corners],
        colors=np.repeat(values, 3, axis=0),
        attributes={},
    )


def _fractions(column: np.ndarray) -> np.ndarray:
    """Return integers as fractions of the largest one of their type. They are data, not encoded colours."""
    return column / np.iinfo(column.dtype).max if column.dtype.kind in "iu" else column
