"""The textures of a glTF file, as bitmaps and vertex colours of the scene."""

from __future__ import annotations

import math
from typing import NamedTuple

from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.images import ImageReader
from nrc_tracer.scene.model import Bitmap, Channel, Color, Matrix, Scalar, Texture, Transform, Vec3, VertexColor, Wrap
from nrc_tracer.scene.names import unique_name
from nrc_tracer.scene.vectors import as_color

WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror", 10497: "repeat"}
"""Wrap modes, by OpenGL's numbers."""
NEAREST = 9728
"""OpenGL's number of the filter that takes the nearest texel."""


class TextureUse(NamedTuple):
    """A texture as referred to by a material, without the channel to read and its interpretation."""

    image: str
    channels: int
    wrap: tuple[Wrap, Wrap]
    nearest: bool
    to_uv: Transform
    label: str

    @property
    def has_alpha(self) -> bool:
        """Whether the image has an alpha channel."""
        return self.channels == 4

    def bitmap(self, channel: Channel = "rgb", factor: float | Vec3 = 1.0, raw: bool = True) -> Bitmap:
        """Return the bitmap that reads a channel of the texture; `raw` turns off sRGB decoding."""
        return Bitmap(
            file=self.image,
            raw=raw,
            filter="nearest" if self.nearest else "bilinear",
            wrap=self.wrap[0] if self.wrap[0] == self.wrap[1] else self.wrap,
            channel=channel,
            factor=as_color(factor),
            to_uv=self.to_uv,
        )


class TextureReader:
    """Reads references to textures, and collects the textures of the scene by their names."""

    def __init__(self, document: Document, images: ImageReader) -> None:
        self.document = document
        self.images = images
        self.textures: dict[str, Texture] = {}
        self._names: dict[Texture, str] = {}

    def use(self, owner: Entry, key: str) -> TextureUse | None:
        """Read a textureInfo; None if the key is missing, or the texture has no usable image.

        Raises:
            SceneError: The reference, the texture, its sampler or its image is malformed.
        """
        info = owner.entry(key)
        if info is None:
            return None
        texture = self.document.get("textures", info.required_reference("index", "textures"))
        source = texture.reference("source", "images")
        if source is None:
            texture.warn("has no PNG or JPEG image; it is left out")
            return None
        sampler_index = texture.reference("sampler", "samplers")
        wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
        nearest = False
        if sampler_index is not None:
            sampler = self.document.get("samplers", sampler_index)
            wrap = (self._wrap(sampler, "wrapS"), self._wrap(sampler, "wrapT"))
            nearest = sampler.integer("magFilter", 9729) == NEAREST
        image = self.images.read(source)
        return TextureUse(
            image=image,
            channels=self.images.images[image].shape[2],
            wrap=wrap,
            nearest=nearest,
            to_uv=_texture_transform(info.extension("KHR_texture_transform")),
            label=texture.name or self.document.get("images", source).name or f"image {source}",
        )

    def uv_set(self, owner: Entry, key: str) -> int | None:
        """Return the set of texture coordinates (n in TEXCOORD_n) that a textureInfo uses; None if the key is missing."""
        info = owner.entry(key)
        if info is None:
            return None
        transform = info.extension("KHR_texture_transform")
        if transform is not None and "texCoord" in transform:
            return transform.integer("texCoord")
        return info.integer("texCoord", 0)

    def name(self, texture: Texture, label: str) -> str:
        """Return the name of a texture in the scene; the same one for an equal texture."""
        if texture not in self._names:
            self._names[texture] = unique_name(label, self.textures)
            self.textures[self._names[texture]] = texture
        return self._names[texture]

    def color(self, use: TextureUse | None, factor: Vec3, *, srgb: bool = True, vertex_colors: bool = False) -> Color:
        """Return a factor times a texture's colour (if any) and times vertex colours: a colour or the name of a texture."""
        if vertex_colors:
            inner = self.name(use.bitmap(raw=not srgb), use.label) if use else None
            return self.name(VertexColor(factor=as_color(factor), texture=inner), "vertex colours")
        if use is None:
            return as_color(factor)
        return self.name(use.bitmap(factor=factor, raw=not srgb), use.label)

    def scalar(self, use: TextureUse | None, channel: Channel, factor: float) -> Scalar:
        """Return a factor times a channel of a texture (if any): a number or the name of a texture."""
        if use is None or factor == 0.0:
            return factor
        if use.channels < 3 and channel in "rgb":  # a grey image
            return self.name(use.bitmap(factor=factor), use.label)
        return self.name(use.bitmap(channel=channel, factor=factor), f"{use.label} ({channel})")

    def _wrap(self, sampler: Entry, key: str) -> Wrap:
        code = sampler.integer(key, 10497)
        if code not in WRAPS:
            sampler.fail(f"{code} is none of {', '.join(map(str, WRAPS))}", key)
        return WRAPS[code]


def _texture_transform(extension: Entry | None) -> Transform:
    """Read KHR_texture_transform: scale, then rotation (counter-clockwise with v downwards), then offset."""
    if extension is None:
        return ()
    (x, y), (sx, sy) = extension.vector("offset", 2, (0.0, 0.0)), extension.vector("scale", 2, (1.0, 1.0))
    angle = extension.number("rotation", 0.0)
    if (x, y, sx, sy, angle) == (0.0, 0.0, 1.0, 1.0, 0.0):
        return ()
    if sx == 0.0 or sy == 0.0:
        extension.warn("a scale of zero is not supported; 0.000001 is used", "scale")
        sx, sy = sx or 1e-6, sy or 1e-6
    c, s = math.cos(angle), math.sin(angle)
    rows = ((c * sx, s * sy, 0.0, x), (-s * sx, c * sy, 0.0, y), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return (Matrix(value=rows),)
