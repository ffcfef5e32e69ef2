"""Transforms as 4x4 matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import LookAt, Matrix, Rotate, Scale, Step, Transform, Translate

SINGULAR = 1e-12
"""Smallest volume that the normalized columns of a linear map may span; below it the map counts as singular."""


def matrix(transform: Transform) -> np.ndarray:
    """Multiply the steps of a transform into one matrix that acts on column vectors; the first step acts first.

    Args:
        transform: The steps; no step is the identity.

    Returns:
        The affine map, shape [4, 4], float64, last row 0 0 0 1.

    Raises:
        SceneError: There is a rotation about a zero axis, a `look_at` whose target is its origin or whose up vector is parallel
            to its direction, a matrix whose last row is not 0 0 0 1, or a number that is not finite, or the product is
            singular.
    """
    product = np.eye(4)
    for step in transform:
        product = _step_matrix(step) @ product
    if not np.all(np.isfinite(product)):
        raise SceneError("the transform has numbers that are not finite")
    if _is_singular(product[:3, :3]):
        raise SceneError(
            "the transform is singular: it flattens space (a scale of zero, or a matrix without an inverse)"
        )
    return product


def look_at(origin: Sequence[float], target: Sequence[float], up: Sequence[float]) -> np.ndarray:
    """Return the frame with its origin at `origin`, +z towards `target`, +x along cross(up, z) (left) and +y along cross(z, x).

    Returns:
        A rigid map, shape [4, 4], float64.

    Raises:
        SceneError: `target` is `origin`, or `up` is zero or parallel to the direction.
    """
    eye = np.asarray(origin, dtype=np.float64)
    direction = np.asarray(target, dtype=np.float64) - eye
    if not np.any(direction):
        raise SceneError(f"look_at: the target is the origin, {_text(origin)}, so there is no direction of view")
    z = _normalize(direction)
    upward = np.asarray(up, dtype=np.float64)
    if not np.any(upward):
        raise SceneError("look_at: the up vector is zero")
    x = np.cross(_normalize(upward), z)
    if np.linalg.norm(x) < 1e-9:
        raise SceneError(f"look_at: the up vector {_text(up)} is parallel to the direction of view")
    x = _normalize(x)
    frame = np.eye(4)
    frame[:3] = np.column_stack((x, np.cross(z, x), z, eye))
    return frame


def rotation(axis: Sequence[float], angle: float) -> np.ndarray:
    """Return the rotation by `angle` [degrees] about `axis`, counter-clockwise seen from the tip of the axis.

    Returns:
        A rotation, shape [4, 4], float64.

    Raises:
        SceneError: The axis is zero.
    """
    direction = np.asarray(axis, dtype=np.float64)
    if not np.any(direction):
        raise SceneError("rotate: the axis is zero")
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    # Rodrigues: R = I + sin K + (1 - cos) K^2, with K the cross product by the axis
    cross = _cross_matrix(_normalize(direction))
    result = np.eye(4)
    result[:3, :3] += sine * cross + (1.0 - cosine) * (cross @ cross)
    return result


def unnormalized_rotation(axis: Sequence[float], angle: float) -> np.ndarray:
    """Return cos I + sin K + (1 - cos) a a^T, with the axis a as it is and K the cross product by a.

    This is Mitsuba's matrix for `<rotate>`. It is a rotation by `angle` [degrees] only if `axis` has length 1; another axis
    scales space along and across it.

    Returns:
        A linear map, shape [4, 4], float64.
    """
    direction = np.asarray(axis, dtype=np.float64)
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    result = np.eye(4)
    result[:3, :3] = cosine * np.eye(3) + sine * _cross_matrix(direction)
    result[:3, :3] += (1.0 - cosine) * np.outer(direction, direction)
    return result


def _cross_matrix(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _step_matrix(step: Step) -> np.ndarray:
    match step:
        case Translate(value=value):
            result = np.eye(4)
            result[:3, 3] = value
            return result
        case Rotate(axis=axis, angle=angle):
            return rotation(axis, angle)
        case Scale(value=value):
            return np.diag(np.append(np.broadcast_to(value, 3), 1.0))
        case LookAt(origin=origin, target=target, up=up):
            return look_at(origin, target, up)
        case Matrix(value=rows):
            result = np.array(rows, dtype=np.float64)
            if not np.array_equal(result[3], (0.0, 0.0, 0.0, 1.0)):
                raise SceneError(f"matrix: the last row must be 0 0 0 1, not {_text(rows[3])}")
            return result


def _is_singular(linear: np.ndarray) -> bool:
    lengths = np.linalg.norm(linear, axis=0)
    return not np.all(lengths > 0.0) or abs(np.linalg.det(linear / lengths)) < SINGULAR


def _normalize(vector: np.ndarray) -> np.ndarray:
    scaled = vector / np.max(np.abs(vector))  # avoids overflow and underflow of the squares
    return scaled / np.linalg.norm(scaled)


def _text(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
