"""A loaded scene: the description, and the contents of the files that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nrc_tracer.scene.model.description import SceneDescription


@dataclass(frozen=True)
class TriangleMesh:
    """Triangles in local space.

    Attributes:
        positions: Vertex positions, shape [vertex_count, 3], float32, or float64 far from the origin (`stored_positions`).
        indices: Vertex indices, shape [triangle_count, 3], int32, counter-clockwise seen from the side of the normal.
        normals: Unit vertex normals, shape [vertex_count, 3], float32, or None for flat faces.
        uvs: Texture coordinates, shape [vertex_count, 2], float32, or None.
        colors: Vertex colours, linear RGB and opacity, shape [vertex_count, 4], float32, or None.
        computed_normals: Whether the normals come from the triangles, because the file has none.
        attributes: Those attributes of the file that shapes name by `color_attribute`, as colours and opacities of the vertices
            or triangles, shape [count, 4], float32, by their names (see `mesh_attributes`).
    """

    positions: np.ndarray
    indices: np.ndarray
    normals: np.ndarray | None = None
    uvs: np.ndarray | None = None
    colors: np.ndarray | None = None
    computed_normals: bool = False
    attributes: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class SdfSnapshot:
    """The header of a snapshot of a learnt signed distance function; its network is not loaded yet.

    The network maps u = (x - `center`) `scale` + 1/2 in the unit cube to the distance times `scale`, negative inside.

    Attributes:
        path: The file.
        center: Point that is mapped to the centre of the unit cube, shape [3], float64.
        scale: Factor from scene units to unit cubes, above 0.
        bounds: Lower and upper corner of the box around the original mesh, shape [2, 3], float64.
    """

    path: Path
    center: np.ndarray
    scale: float
    bounds: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A scene ready to render: the description and the contents of all files that it names.

    Attributes:
        description: What is in the scene.
        meshes: The triangles of every `Mesh.file`, by that name. Meshes given in place are not included.
        images: The pixels of every `Bitmap.file` and `EnvironmentMap.file`, by that name: shape [height, width, 3]
            (or 1 or 4 channels), uint8, uint16 or float32; float is linear.
        source: The file that the scene was read from, if any.
        snapshots: The headers of every `NeuralSdf.file`, by that name.
        warnings: What the file asks for that is not supported, and what was done instead.
        notes: What was added because the file leaves it open, such as a camera.
    """

    description: SceneDescription
    meshes: dict[str, TriangleMesh] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)
    source: Path | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    snapshots: dict[str, SdfSnapshot] = field(default_factory=dict)
