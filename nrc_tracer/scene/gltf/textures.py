"""Textures of a glTF file, as `Bitmap`s and vertex colours."""

from __future__ import annotations

import math
from typing import NamedTuple

from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.images import ImageReader
from nrc_tracer.scene.model import Bitmap, Matrix, Texture, Transform, Vec3, VertexColor, Wrap

WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror", 10497: "repeat"}
NEAREST = 9728


class TextureUse(NamedTuple):
    """A texture as a material refers to it: everything but which channel is read, and how."""

    image: str
    channels: int
    wrap: tuple[Wrap, Wrap]
    nearest: bool
    to_uv: Transform
    label: str

    @property
    def has_alpha(self) -> bool:
        return self.channels == 4

    def bitmap(self, channel: str = "rgb", factor: float | Vec3 = 1.0, raw: bool = True) -> Bitmap:
        """The texture read in one way; `raw` without sRGB decoding."""
        return Bitmap(
            file=self.image,
            raw=raw,
            filter="nearest" if self.nearest else "bilinear",
            wrap=self.wrap[0] if self.wrap[0] == self.wrap[1] else self.wrap,
            channel=channel,
            factor=simplify(factor),
            to_uv=self.to_uv,
        )


class TextureReader:
    """Reads references to textures, and gives names to the textures of the scene."""

    def __init__(self, document: Document, images: ImageReader) -> None:
        self.document = document
        self.images = images
        self.textures: dict[str, Texture] = {}
        self._names: dict[Texture, str] = {}

    def use(self, owner: Entry, key: str) -> TextureUse | None:
        """Read what `owner` has under `key` (a textureInfo); None if it has none or the texture has no usable image.

        Raises:
            SceneError: The reference, the texture, its sampler or its image is malformed.
        """
        info = owner.entry(key)
        if info is None:
            return None
        index = info.reference("index", "textures")
        if index is None:
            info.fail('"index" is missing')
        texture = self.document.get("textures", index)
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
        """Return which texture coordinates (the n of TEXCOORD_n) a textureInfo uses; None if there is none."""
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
            self._names[texture] = unique(label, self.textures)
            self.textures[self._names[texture]] = texture
        return self._names[texture]

    def color(
        self, use: TextureUse | None, factor: tuple[float, ...], *, srgb: bool = True, vertex_colors: bool = False
    ) -> str | Vec3 | float:
        """Return a factor times a texture's colour (if any) and times vertex colours: a colour or a texture's name."""
        if vertex_colors:
            inner = self.name(use.bitmap(raw=not srgb), use.label) if use else None
            return self.name(VertexColor(factor=simplify(factor), texture=inner), "vertex colours")
        if use is None:
            return simplify(factor)
        return self.name(use.bitmap(factor=factor, raw=not srgb), use.label)

    def scalar(self, use: TextureUse | None, channel: str, factor: float) -> str | float:
        """Return a factor times a channel of a texture (if any): a number or a texture's name."""
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


def simplify(color: float | tuple[float, ...]) -> float | Vec3:
    """Return a grey colour as one number."""
    if isinstance(color, tuple):
        return color[0] if color[0] == color[1] == color[2] else color
    return color


def unique(label: str, taken: dict[str, object]) -> str:
    """Return a name that is not taken yet: `label`, `label 2`, `label 3`, ..."""
    name, number = label, 1
    while name in taken:
        number += 1
        name = f"{label} {number}"
    return name


def _texture_transform(extension: Entry | None) -> Transform:
    """KHR_texture_transform: scale, then rotation, then offset; rotation is counter-clockwise with v downwards."""
    if extension is None:
        return ()
    (x, y), (sx, sy) = extension.vector("offset", 2, (0.0, 0.0)), extension.vector("scale", 2, (1.0, 1.0))
    angle = extension.number("rotation", 0.0)
    if (x, y, sx, sy, angle) == (0.0, 0.0, 1.0, 1.0, 0.0):
        return ()
    if sx == 0.0 or sy == 0.0:
        extension.warn("a scale of zero is not supported; one of 0.000001 is used", "scale")
        sx, sy = sx or 1e-6, sy or 1e-6
    c, s = math.cos(angle), math.sin(angle)
    rows = ((c * sx, s * sy, 0.0, x), (-s * sx, c * sy, 0.0, y), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return (Matrix(value=rows),)
