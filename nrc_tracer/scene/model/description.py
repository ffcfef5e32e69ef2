"""A scene as a file states it, with the settings of its film, sampler and integrator."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nrc_tracer.scene.model.base import Model, Positive
from nrc_tracer.scene.model.cameras import Camera, Perspective
from nrc_tracer.scene.model.lights import Light
from nrc_tracer.scene.model.materials import Material
from nrc_tracer.scene.model.shapes import GroupShape, Shape
from nrc_tracer.scene.model.textures import Texture

Filter = Literal["box", "tent", "gaussian"]


class Film(Model, tag=False):
    """The image: its size in pixels, an optional crop window (x, y, width, height), and the reconstruction filter."""

    width: Annotated[int, Meta(ge=1, le=65536)] = 512
    height: Annotated[int, Meta(ge=1, le=65536)] = 512
    crop: tuple[int, int, int, int] | None = None
    filter: Filter = "box"
    filter_radius: Positive | None = None
    """Half width of the filter [pixels]. The default is 0.5 for the box, 1 for the tent, and 2 (four standard deviations) for
    the Gaussian."""


class Sampler(Model, tag=False):
    """The kind of random numbers, and the number of samples per pixel."""

    type: Literal["sobol", "independent"] = "sobol"
    spp: Annotated[int, Meta(ge=1)] = 64


class Integrator(Model, tag=False):
    """The length of paths.

    `max_depth` counts segments from the camera on: 1 shows only emitters, 2 adds direct light, null means no limit. From depth
    `rr_depth` on, Russian roulette ends paths by their throughput.
    """

    max_depth: Annotated[int, Meta(ge=0)] | None = None
    rr_depth: Annotated[int, Meta(ge=1)] = 5


class SceneDescription(Model, tag=False):
    """A whole scene as a file states it. File names are relative to the scene file.

    `camera` is used unless one of `cameras` is chosen by name. Groups are not visible themselves, only their instances are.
    """

    camera: Camera = Perspective()
    cameras: dict[str, Camera] = {}
    film: Film = Film()
    sampler: Sampler = Sampler()
    integrator: Integrator = Integrator()
    textures: dict[str, Texture] = {}
    materials: dict[str, Material] = {}
    groups: dict[str, tuple[GroupShape, ...]] = {}
    shapes: tuple[Shape, ...] = ()
    lights: tuple[Light, ...] = ()
