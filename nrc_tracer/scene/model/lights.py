"""Lights other than emitting shapes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nrc_tracer.scene.model.base import Model, NonNegative, Vec3
from nrc_tracer.scene.model.transforms import Transform


class PointLight(Model, tag="point"):
    """A point that emits the same `intensity` [W/sr] in all directions."""

    position: Vec3 = (0.0, 0.0, 0.0)
    intensity: float | Vec3 = 1.0


class SpotLight(Model, tag="spot"):
    """A cone of light along local +z: full `intensity` [W/sr] within `beam_width`, falling linearly to 0 at `cutoff_angle`.

    Both angles [degrees] are measured from the axis. The default of `beam_width` is 3/4 of `cutoff_angle`.
    """

    to_world: Transform = ()
    intensity: float | Vec3 = 1.0
    cutoff_angle: Annotated[float, Meta(gt=0, le=90)] = 20.0
    beam_width: NonNegative | None = None


class DirectionalLight(Model, tag="directional"):
    """Light from infinity that travels along `direction`. `irradiance` is that of a surface that faces it [W/m^2]."""

    direction: Vec3
    irradiance: float | Vec3 = 1.0


class ConstantLight(Model, tag="constant"):
    """The same `radiance` from every direction."""

    radiance: float | Vec3 = 1.0


class EnvironmentMap(Model, tag="environment"):
    """A latitude-longitude image around the scene.

    Local +y is the image's top row and +z its centre column. Its left and right edges meet at -z, and +x is a quarter of the
    width from the left, as in Mitsuba: u = atan2(x, -z) / 2 pi, v = acos(y) / pi.

    `rows` states where the image's rows lie: `centered` in equal bands of the polar angle, as usual, or `pole_to_pole`, with the
    first row at one pole and the last row at the other one, as in Mitsuba, which repeats the last one of only two rows. Columns
    are always centered.
    """

    file: str
    scale: NonNegative = 1.0
    rows: Literal["centered", "pole_to_pole"] = "centered"
    to_world: Transform = ()


Light = PointLight | SpotLight | DirectionalLight | ConstantLight | EnvironmentMap
