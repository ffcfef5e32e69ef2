"""Coordinates that are large beside the things that lie there, such as those of maps.

A float32 of 5.5e6 has steps of 0.5, in which a ball of radius 1 is a turnip. So readers keep such positions in float64, and the
tracer subtracts an origin near the scene's middle before it converts positions to float32. Both happen only where a coordinate
is more than `positions.FAR` times as large as the extent; nearer the origin the steps are less than 8e-6 of the extent.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nrc_tracer.scene.instances import file_mesh, placed_shapes
from nrc_tracer.scene.model import Cylinder, GroupShape, Mesh, NeuralSdf, Rectangle, Scene, Sphere
from nrc_tracer.scene.neural_sdf import box_corners
from nrc_tracer.scene.positions import is_far, step_at

COARSE = 2e-3
"""Step of float32, as a fraction of the extent of a shape, above which the shape looks rough."""

Box = tuple[np.ndarray, np.ndarray]
"""Lowest and highest corner, float64 [3] each."""


def box_of(points: np.ndarray) -> Box:
    """Return the box around points, shape [count, 3]."""
    return points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)


def placed_box(box: Box, to_world: np.ndarray) -> Box:
    """Return a box around a transformed box."""
    center = to_world[:3, :3] @ (0.5 * (box[0] + box[1])) + to_world[:3, 3]
    half = np.abs(to_world[:3, :3]) @ (0.5 * (box[1] - box[0]))
    return center - half, center + half


def scene_origin(boxes: Iterable[Box]) -> np.ndarray:
    """Return the point that is subtracted from all positions of a scene, float64 [3]: 0, or near the middle of distant shapes.

    Its coordinates are multiples of a power of two that is at least the extent. So it is a number with few digits, and 0 along an
    axis on which the shapes lie around 0.

    Args:
        boxes: Boxes around the shapes in world space.
    """
    corners = np.array([corner for box in boxes for corner in box], np.float64).reshape(-1, 3)
    if not len(corners) or not np.all(np.isfinite(corners)):
        return np.zeros(3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if not is_far(low, high):
        return np.zeros(3)
    grid = 2.0 ** np.ceil(np.log2(np.max(high - low)))
    return np.round(0.5 * (low + high) / grid) * grid


def coordinate_warnings(scene: Scene) -> tuple[str, ...]:
    """Return warnings about shapes that float32 cannot hold: because their file states coordinates in float32, far from the
    origin, or because they are small and far from the middle of the scene. Each kind has one warning, about the worst shape.
    """
    local: dict[object, Box | None] = {}
    in_files: list[tuple[float, str]] = []
    boxes: list[tuple[str, Box]] = []
    for placed in placed_shapes(scene.description):
        mesh = file_mesh(placed.prototype, scene.meshes)
        key: object = id(placed.prototype) if mesh is None else id(mesh)
        if key not in local:
            local[key] = _local_box(placed.prototype, scene)
            box = local[key]
            if mesh is not None and box is not None and mesh.positions.dtype == np.float32 and is_far(*box):
                in_files.append(
                    _roughness(box, f'{placed.place}: the coordinates in its file, "{_file(placed.prototype)}",')
                )
        box = local[key]
        if box is not None:
            boxes.append((placed.place, placed_box(box, placed.to_world)))
    origin = scene_origin(box for _, box in boxes)
    far = [
        _roughness((low - origin, high - origin), f"{place}: seen from the middle of the scene, its coordinates")
        for place, (low, high) in boxes
    ]
    return tuple(text for rough in (in_files, far) for text in _worst(rough))


def _roughness(box: Box, what: str) -> tuple[float, str]:
    """Return the step of float32 at a box as a fraction of its extent, and a warning."""
    extent = float(np.max(box[1] - box[0]))
    largest = float(max(np.abs(box[0]).max(), np.abs(box[1]).max()))
    if not 0.0 < extent < np.inf or not largest < np.finfo(np.float32).max:
        return 0.0, ""
    step = step_at(largest)
    return step / extent, (
        f"{what} reach {largest:.7g}, where float32 has steps of {step:.2g}, and it is {extent:.3g} wide; it will look rough"
    )


def _worst(rough: list[tuple[float, str]]) -> list[str]:
    """Return the warning about the roughest shape, with the number of the others; none if all are smooth enough."""
    coarse = [each for each in rough if each[0] > COARSE]
    if not coarse:
        return []
    others = len(coarse) - 1
    return [max(coarse)[1] + (f" (and {others} other shape{'s' if others > 1 else ''})" if others else "")]


def _file(shape: GroupShape) -> str:
    return str(getattr(shape, "file", ""))


def _local_box(shape: GroupShape, scene: Scene) -> Box | None:
    """Return the box around a shape before its transform; None for a mesh that is empty or not loaded."""
    match shape:
        case Mesh():
            mesh = file_mesh(shape, scene.meshes)
            points = np.asarray(shape.positions or (), np.float64).reshape(-1, 3) if mesh is None else mesh.positions
            return box_of(points) if len(points) else None
        case NeuralSdf():
            return box_of(box_corners(scene.snapshots[shape.file]))
        case Sphere():
            center = np.asarray(shape.center, np.float64)
            return center - shape.radius, center + shape.radius
        case Cylinder():
            ends = np.array((shape.p0, shape.p1), np.float64)
            return ends.min(axis=0) - shape.radius, ends.max(axis=0) + shape.radius
        case _:
            size = np.array((1.0, 1.0, 0.0 if isinstance(shape, Rectangle) else 1.0))
            return -size, size
