"""Reading the emitter `sunsky`, and `sky` and `sun` of format 0.6."""

from __future__ import annotations

import numpy as np

from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.mitsuba.sky import Moment, bake_sky, sun_direction
from nrc_tracer.scene.mitsuba.sky.bake import SUN_APERTURE
from nrc_tracer.scene.mitsuba.textures import TextureReader
from nrc_tracer.scene.model import EnvironmentMap, Rotate
from nrc_tracer.scene.transforms import matrix

MOMENT = ("year", "month", "day", "latitude", "longitude", "timezone", "hour", "minute", "second")
"""Parameters that state a place and time."""


def read_sky(node: Node, document: Document, textures: TextureReader) -> EnvironmentMap:
    """Read a sky as an environment map, whose generated image is added to the document.

    Raises:
        SceneError: A parameter is malformed or out of range.
    """
    node.ignore("complex_sun")  # limb darkening
    to_world = node.transform()
    to_sky = np.linalg.inv(matrix(to_world)[:3, :3])
    if node.has("sun_direction"):
        for name in MOMENT:
            if node.has(name):
                node.place.fail(f"{node} has both sun_direction and {name}; give the direction or place and time")
        sun = to_sky @ np.array(node.vector("sun_direction"))
        if not np.linalg.norm(sun) > 0.0:
            node.properties["sun_direction"].place.fail(f"{node}: sun_direction is zero")
    else:
        sun = sun_direction(_moment(node))
    if sun[2] < 0.0:
        document.warn(node.place, f"{node}: the sun is below the horizon; the sky is black")
    pixels = bake_sky(
        sun,
        turbidity=_within(node, "turbidity", 3.0, 1.0, 10.0),
        albedo=textures.plain_color(node, "albedo", 0.3),
        sky_scale=0.0 if node.plugin == "sun" else _within(node, "sky_scale", 1.0, 0.0, np.inf),
        sun_scale=0.0 if node.plugin == "sky" else _within(node, "sun_scale", 1.0, 0.0, np.inf),
        sun_aperture=_within(node, "sun_aperture", SUN_APERTURE, 1e-3, 179.0),
    )
    name = document.add_image(node.id or f"{node.plugin}-{node.place.line}", pixels)
    # In the image +y is up, in the sky +z
    return EnvironmentMap(file=name, to_world=(Rotate(axis=(1.0, 0.0, 0.0), angle=90.0), *to_world))


def _moment(node: Node) -> Moment:
    moment = Moment(
        year=node.integer("year", Moment.year),
        month=node.integer("month", Moment.month),
        day=node.integer("day", Moment.day),
        latitude=node.number("latitude", Moment.latitude),
        longitude=node.number("longitude", Moment.longitude),
        timezone=node.number("timezone", Moment.timezone),
        hour=node.number("hour", Moment.hour),
        minute=node.number("minute", Moment.minute),
        second=node.number("second", Moment.second),
    )
    if not (1 <= moment.month <= 12 and 1 <= moment.day <= 31 and 0 <= moment.year <= 9999):
        node.place.fail(f"{node}: there is no date {moment.year}-{moment.month}-{moment.day}")
    return moment


def _within(node: Node, name: str, default: float, lowest: float, highest: float) -> float:
    value = node.number(name, default)
    if not lowest <= value <= highest:
        limits = f"in [{lowest:g}, {highest:g}]" if np.isfinite(highest) else f"at least {lowest:g}"
        node.properties[name].place.fail(f"{node}: {name} must be {limits}, it is {value:g}")
    return value
