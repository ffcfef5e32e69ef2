"""Converts the textures of a scene to flat buffers on a device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import warp as wp

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging.tonemap import decode_srgb
from nrc_tracer.scene.model import Bitmap, Checkerboard, Scene, Texture, VertexColor
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tracer.textures import Param, TextureRecord, Textures
from nrc_tracer.tracer.vocabulary import REC709_LUMINANCE, TextureKind, WrapMode

LUMINANCE = np.array(REC709_LUMINANCE)


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Repeat a single channel three times, or drop all channels after the third."""
    return np.repeat(pixels[..., :1], 3, axis=2) if pixels.shape[2] < 3 else pixels[..., :3]


def opacity(pixels: np.ndarray) -> np.ndarray | None:
    """The opacity channel of two or four channels, shape [height, width, 1]; None for one or three channels."""
    return pixels[..., -1:] if pixels.shape[2] in (2, 4) else None


def as_rgb(value: float | tuple[float, float, float]) -> tuple[float, float, float]:
    """A grey value or a colour as a colour."""
    if isinstance(value, int | float):
        return float(value), float(value), float(value)
    r, g, b = value
    return r, g, b


@dataclass
class TextureTable:
    """All textures of a scene, packed.

    Args:
        scene: The scene.
    """

    scene: Scene
    _index: dict[str, int] = field(default_factory=dict)
    _means: list[Callable[[], np.ndarray]] = field(default_factory=list)  # computed only for what emits light
    _records: list[TextureRecord] = field(default_factory=list)
    _packed: list[np.ndarray] = field(default_factory=list)
    _floats: list[np.ndarray] = field(default_factory=list)
    _bases: dict[tuple, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        textures = self.scene.description.textures
        # Vertex colours last: they may refer to the others
        for name, texture in sorted(textures.items(), key=lambda item: isinstance(item[1], VertexColor)):
            self._index[name] = len(self._records)
            self._add(texture)

    def index(self, name: str) -> int:
        """Number of the texture of that name."""
        if name not in self._index:
            raise SceneError(f'there is no texture "{name}"')
        return self._index[name]

    def uses(self, texture: int) -> tuple[bool, bool]:
        """Whether a texture (-1: none) needs texture coordinates, and whether it needs vertex colours."""
        if texture < 0:
            return False, False
        record = self._records[texture]
        if record.kind == TextureKind.VERTEX_COLOR:
            return record.inner >= 0, True
        return True, False

    def param(self, value: float | tuple[float, float, float] | str | None) -> Param:
        """The material parameter for a constant or the name of a texture; None is 0."""
        param = Param()
        if isinstance(value, str):
            param.value, param.texture = wp.vec3(1.0), self.index(value)
        else:
            param.value, param.texture = wp.vec3(*as_rgb(value or 0.0)), -1
        return param

    def mean(self, value: float | tuple[float, float, float] | str) -> np.ndarray:
        """The mean colour of a constant or a texture, shape [3]."""
        return self._means[self._index[value]]() if isinstance(value, str) else np.array(as_rgb(value))

    def upload(self, device: str) -> Textures:
        """Copy everything to a device."""
        textures = Textures()
        textures.records = wp.array(self._records or [TextureRecord()], dtype=TextureRecord, device=device)
        packed = np.concatenate(self._packed) if self._packed else np.zeros(1, np.uint32)
        floats = np.concatenate(self._floats) if self._floats else np.zeros((1, 3), np.float32)
        textures.packed = wp.array(packed, dtype=wp.uint32, device=device)
        textures.floats = wp.array(floats, dtype=wp.vec3, device=device)
        table = np.concatenate([decode_srgb(_LEVELS), _LEVELS]).astype(np.float32)
        textures.decode = wp.array(table, dtype=float, device=device)
        return textures

    def release(self) -> None:
        """Release the texels, which are not needed any more once they are on a device."""
        self._packed, self._floats = [], []

    def _add(self, texture: Texture) -> None:
        record = TextureRecord()
        record.factor = wp.vec3(*as_rgb(getattr(texture, "factor", 1.0)))
        if isinstance(texture, VertexColor):
            record.to_u, record.to_v = wp.vec3(1.0, 0.0, 0.0), wp.vec3(0.0, 1.0, 0.0)
            self._add_vertex_color(record, texture)
            return
        to_uv = matrix(texture.to_uv)
        record.to_u = wp.vec3(to_uv[0, 0], to_uv[0, 1], to_uv[0, 3])
        record.to_v = wp.vec3(to_uv[1, 0], to_uv[1, 1], to_uv[1, 3])
        if isinstance(texture, Checkerboard):
            record.kind = int(TextureKind.CHECKERBOARD)
            record.color0, record.color1 = wp.vec3(*as_rgb(texture.color0)), wp.vec3(*as_rgb(texture.color1))
            mean = 0.5 * (np.array(as_rgb(texture.color0)) + np.array(as_rgb(texture.color1)))
            self._means.append(lambda: mean)
        else:
            self._add_bitmap(record, texture)
        self._records.append(record)

    def _add_vertex_color(self, record: TextureRecord, texture: VertexColor) -> None:
        record.kind = int(TextureKind.VERTEX_COLOR)
        record.inner = -1 if texture.texture is None else self.index(texture.texture)
        record.opacity = int(texture.channel == "a")
        mean = np.array(as_rgb(texture.factor))
        inner = None if record.inner < 0 else self._means[record.inner]
        self._means.append(lambda: mean if inner is None else mean * inner())
        self._records.append(record)

    def _add_bitmap(self, record: TextureRecord, texture: Bitmap) -> None:
        image = self.scene.images[texture.file]
        channel = "rgba".index(texture.channel) if texture.channel != "rgb" else None
        alpha = opacity(image)
        pixels = to_rgb(image)
        # Opacity is linear, however the colours are encoded
        linear = texture.raw or pixels.dtype == np.float32 or channel == 3
        kind = TextureKind.PACKED if pixels.dtype == np.uint8 else TextureKind.FLOAT
        record.kind = int(kind)
        record.height, record.width = pixels.shape[:2]
        wraps = (texture.wrap, texture.wrap) if isinstance(texture.wrap, str) else texture.wrap
        record.wrap_u, record.wrap_v = (int(WrapMode[wrap.upper()]) for wrap in wraps)
        record.nearest = int(texture.filter == "nearest")
        record.decode = 256 if linear else 0
        record.shift = wp.vec3i(0, 8, 16) if channel is None else wp.vec3i(8 * channel)

        taken = pixels
        if channel == 3:
            full = 1.0 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max
            taken = np.full_like(pixels, full) if alpha is None else np.repeat(alpha, 3, axis=2)
        elif channel is not None:
            taken = np.repeat(pixels[..., channel : channel + 1], 3, axis=2)
        factor = np.array(as_rgb(texture.factor))
        if kind == TextureKind.PACKED:
            levels = _LEVELS if linear else decode_srgb(_LEVELS)
            self._means.append(functools.cache(lambda: _mean_of_bytes(taken, levels) * factor))
        else:
            values = taken.astype(np.float32)
            if pixels.dtype != np.float32:
                values /= np.iinfo(pixels.dtype).max
            values = values if linear else decode_srgb(values)
            mean = np.where(np.isfinite(values), values, 0.0).mean(axis=(0, 1), dtype=np.float64) * factor
            self._means.append(lambda: mean)

        # Store an image that several textures use once
        key: tuple = (texture.file, kind) if kind == TextureKind.PACKED else (texture.file, kind, linear, channel)
        if key not in self._bases:
            if kind == TextureKind.PACKED:
                rgba = np.empty((*pixels.shape[:2], 4), np.uint8)
                for i in range(3):  # much faster than all three at once
                    rgba[..., i] = pixels[..., i]
                rgba[..., 3] = 255 if alpha is None else alpha[..., 0]
                self._bases[key] = sum(len(p) for p in self._packed)
                self._packed.append(rgba.reshape(-1).view("<u4").astype(np.uint32, copy=False))
            else:
                self._bases[key] = sum(len(p) for p in self._floats)
                self._floats.append(values.reshape(-1, 3))
        record.base = self._bases[key]


_LEVELS = np.arange(256) / 255.0
"""The values of a byte."""


def _mean_of_bytes(pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Mean of `levels[pixels]` over an image, shape [channels], from the number of times that each byte occurs."""
    counts = [np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(pixels.shape[2])]
    return np.array(counts) @ levels.astype(np.float64) / (pixels.shape[0] * pixels.shape[1])
