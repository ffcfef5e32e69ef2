"""Textures."""

from __future__ import annotations

from typing import Literal

from nrc_tracer.scene.model.base import Model, Vec3
from nrc_tracer.scene.model.transforms import Transform

Wrap = Literal["repeat", "mirror", "clamp"]
Channel = Literal["rgb", "r", "g", "b", "a"]


class Bitmap(Model, tag="bitmap"):
    """An image, looked up at (u, v) with v = 0 at the image's **top** row.

    `raw` turns off the sRGB decoding of 8- and 16-bit images, for data such as roughness. `wrap` applies to both axes, or
    has one value for each. `channel` reads a single channel of the image as a grey value; `a` is its opacity (1 in an image
    without one). The result is multiplied by `factor`. `to_uv` maps (u, v) before the lookup.
    """

    file: str
    raw: bool = False
    filter: Literal["bilinear", "nearest"] = "bilinear"
    wrap: Wrap | tuple[Wrap, Wrap] = "repeat"
    channel: Channel = "rgb"
    factor: float | Vec3 = 1.0
    to_uv: Transform = ()


class Checkerboard(Model, tag="checkerboard"):
    """Two colours that alternate every half unit of u and v: `color0` where both half units have the same parity."""

    color0: float | Vec3 = 0.4
    color1: float | Vec3 = 0.2
    to_uv: Transform = ()


class VertexColor(Model, tag="vertex_color"):
    """The colours of the mesh's vertices, interpolated over each triangle, times `factor`.

    With `channel` `a` it is their opacity, as a grey value. `texture` names another texture to multiply them by. A mesh
    without vertex colours counts as white.
    """

    channel: Literal["rgb", "a"] = "rgb"
    factor: float | Vec3 = 1.0
    texture: str | None = None


Texture = Bitmap | Checkerboard | VertexColor
