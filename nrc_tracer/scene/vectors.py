"""Tuples of a fixed length, as the scene model has them, from other sequences of numbers."""

from __future__ import annotations

from collections.abc import Iterable

from nrc_tracer.scene.model import Matrix, Row, Vec3


def as_vec3(values: Iterable[float]) -> Vec3:
    """Return three numbers as a tuple of Python floats."""
    x, y, z = map(float, values)
    return x, y, z


def as_color(values: float | Iterable[float]) -> float | Vec3:
    """Return a colour as a tuple, or as one number if it is grey."""
    if isinstance(values, int | float):
        return values
    red, green, blue = as_vec3(values)
    return red if red == green == blue else (red, green, blue)


def as_matrix(rows: Iterable[Iterable[float]]) -> Matrix:
    """Return four rows of four numbers as a step of a transform."""
    first, second, third, last = (_as_row(row) for row in rows)
    return Matrix(value=(first, second, third, last))


def _as_row(values: Iterable[float]) -> Row:
    x, y, z, w = map(float, values)
    return x, y, z, w
