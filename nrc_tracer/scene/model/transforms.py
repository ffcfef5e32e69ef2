"""Transforms: a list of steps, of which the first is applied first."""

from __future__ import annotations

from nrc_tracer.scene.model.base import Model, Row, Vec3


class Translate(Model, tag="translate"):
    """Move by `value`."""

    value: Vec3


class Rotate(Model, tag="rotate"):
    """Turn by `angle` degrees about `axis` through the origin, counter-clockwise seen from the tip of the axis."""

    axis: Vec3
    angle: float


class Scale(Model, tag="scale"):
    """Scale by one factor, or by a factor for each axis."""

    value: float | Vec3


class LookAt(Model, tag="look_at"):
    """Place the local origin at `origin`, with +z towards `target` and +y as close to `up` as possible."""

    origin: Vec3
    target: Vec3
    up: Vec3 = (0.0, 1.0, 0.0)


class Matrix(Model, tag="matrix"):
    """Any affine map, as four rows that multiply column vectors. The last row is 0 0 0 1."""

    value: tuple[Row, Row, Row, Row]


Step = Translate | Rotate | Scale | LookAt | Matrix
Transform = tuple[Step, ...]
