"""Cameras. They look along local +z, with +y up and +x to the left."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nrc_tracer.scene.model.base import Model, NonNegative, Positive, Vec2
from nrc_tracer.scene.model.transforms import Transform

FovAxis = Literal["x", "y", "diagonal", "smaller", "larger"]


class Perspective(Model, tag="perspective"):
    """A pinhole camera, or with `aperture_radius` > 0 a thin lens focused at `focus_distance`.

    `fov` [degrees] spans the axis named by `fov_axis`. `principal_point_offset` shifts the lens: each pixel sees the point that
    would otherwise be seen x to the right and y below it, in fractions of the image's width and height. Only what lies between
    the planes `near` and `far` is visible.
    """

    to_world: Transform = ()
    fov: Annotated[float, Meta(gt=0, lt=180)] = 45.0
    fov_axis: FovAxis = "x"
    aperture_radius: NonNegative = 0.0
    focus_distance: Positive = 1.0
    principal_point_offset: Vec2 = (0.0, 0.0)
    near: NonNegative = 0.0
    far: Positive | None = None


class Orthographic(Model, tag="orthographic"):
    """Parallel rays along local +z. The image spans [-1, 1] in local x, scaled by the transform."""

    to_world: Transform = ()
    near: NonNegative = 0.0
    far: Positive | None = None


Camera = Perspective | Orthographic
