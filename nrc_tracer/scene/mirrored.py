"""Mitsuba's rule for meshes with a mirroring transform.

Mitsuba transforms the vertices of a mesh and keeps their order. Stored normals are transformed too, so the mirror image of an
outward normal points outwards. Normals that come from the triangles are computed afterwards, and point inwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec
import numpy as np

from nrc_tracer.scene.model import Mesh, SceneDescription, TriangleMesh
from nrc_tracer.scene.transforms import matrix

AnyShape = TypeVar("AnyShape")


def turn_mirrored_meshes(description: SceneDescription, meshes: Mapping[str, TriangleMesh]) -> SceneDescription:
    """Flip the normals of those meshes of a Mitsuba scene whose normals point inwards because of a mirroring transform.

    Args:
        description: The scene.
        meshes: The triangles of each `Mesh.file`.

    Returns:
        The scene with `flip_normals` of these meshes inverted. The tracer itself keeps the normals of mirrored meshes outwards.
    """

    def turned(shape: AnyShape) -> AnyShape:
        if not isinstance(shape, Mesh) or shape.file is None or shape.file not in meshes:
            return shape
        mesh = meshes[shape.file]
        from_triangles = shape.face_normals or mesh.normals is None or mesh.computed_normals
        if not from_triangles or np.linalg.det(matrix(shape.to_world)[:3, :3]) > 0.0:
            return shape
        return msgspec.structs.replace(shape, flip_normals=not shape.flip_normals)

    groups = {name: tuple(turned(shape) for shape in group) for name, group in description.groups.items()}
    shapes = tuple(turned(shape) for shape in description.shapes)
    return msgspec.structs.replace(description, shapes=shapes, groups=groups)
