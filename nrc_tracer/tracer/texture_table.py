"""From the textures of a scene to flat buffers on a device."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import warp as wp

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging.tonemap import decode_srgb
from nrc_tracer.scene.model import Bitmap, Checkerboard, Scene, Texture
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tracer.textures import Param, TextureRecord, Textures
from nrc_tracer.tracer.vocabulary import REC709_LUMINANCE, TextureKind, WrapMode

LUMINANCE = np.array(REC709_LUMINANCE)


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Make three channels of one, or drop what comes after the third."""
    return np.repeat(pixels[..., :1], 3, axis=2) if pixels.shape[2] < 3 else pixels[..., :3]


def as_rgb(value: float | tuple[float, float, float]) -> tuple[float, float, float]:
    """A grey value or a colour as a colour."""
    return (float(value),) * 3 if isinstance(value, int | float) else tuple(value)


@dataclass
class TextureTable:
    """All textures of a scene, packed.

    Args:
        scene: The scene.
    """

    scene: Scene
    _index: dict[str, int] = field(default_factory=dict)
    _means: list[np.ndarray] = field(default_factory=list)
    _records: list[TextureRecord] = field(default_factory=list)
    _packed: list[np.ndarray] = field(default_factory=list)
    _floats: list[np.ndarray] = field(default_factory=list)
    _bases: dict[tuple[str, TextureKind, bool], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, texture in self.scene.description.textures.items():
            self._index[name] = len(self._records)
            self._add(texture)

    def param(self, value: float | tuple[float, float, float] | str | None) -> Param:
        """A material parameter of a constant or of the texture of that name."""
        param = Param()
        if isinstance(value, str):
            if value not in self._index:
                raise SceneError(f'there is no texture "{value}"')
            param.value, param.texture = wp.vec3(1.0), self._index[value]
        else:
            param.value, param.texture = wp.vec3(*as_rgb(value or 0.0)), -1
        return param

    def mean(self, value: float | tuple[float, float, float] | str) -> np.ndarray:
        """The mean colour of a constant or a texture, shape [3]."""
        return self._means[self._index[value]] if isinstance(value, str) else np.array(as_rgb(value))

    def upload(self, device: str) -> Textures:
        """Copy everything to a device."""
        textures = Textures()
        textures.records = wp.array(self._records or [TextureRecord()], dtype=TextureRecord, device=device)
        packed = np.concatenate(self._packed) if self._packed else np.zeros(1, np.uint32)
        floats = np.concatenate(self._floats) if self._floats else np.zeros((1, 3), np.float32)
        textures.packed = wp.array(packed, dtype=wp.uint32, device=device)
        textures.floats = wp.array(floats, dtype=wp.vec3, device=device)
        levels = np.arange(256) / 255.0
        table = np.concatenate([decode_srgb(levels), levels]).astype(np.float32)
        textures.decode = wp.array(table, dtype=float, device=device)
        return textures

    def _add(self, texture: Texture) -> None:
        record = TextureRecord()
        to_uv = matrix(texture.to_uv)
        record.to_u = wp.vec3(to_uv[0, 0], to_uv[0, 1], to_uv[0, 3])
        record.to_v = wp.vec3(to_uv[1, 0], to_uv[1, 1], to_uv[1, 3])
        if isinstance(texture, Checkerboard):
            record.kind = int(TextureKind.CHECKERBOARD)
            record.color0, record.color1 = wp.vec3(*as_rgb(texture.color0)), wp.vec3(*as_rgb(texture.color1))
            self._means.append(0.5 * (np.array(as_rgb(texture.color0)) + np.array(as_rgb(texture.color1))))
        else:
            self._add_bitmap(record, texture)
        self._records.append(record)

    def _add_bitmap(self, record: TextureRecord, texture: Bitmap) -> None:
        pixels = to_rgb(self.scene.images[texture.file])
        linear = texture.raw or pixels.dtype == np.float32
        kind = TextureKind.PACKED if pixels.dtype == np.uint8 else TextureKind.FLOAT
        record.kind = int(kind)
        record.height, record.width = pixels.shape[:2]
        record.wrap = int(WrapMode[texture.wrap.upper()])
        record.nearest = int(texture.filter == "nearest")
        record.decode = 256 if linear else 0

        values = pixels.astype(np.float32)
        if pixels.dtype != np.float32:
            values /= np.iinfo(pixels.dtype).max
        values = values if linear else decode_srgb(values).astype(np.float32)
        finite = np.where(np.isfinite(values), values, 0.0)
        self._means.append(finite.mean(axis=(0, 1), dtype=np.float64))

        # An image that several textures use is stored once
        key = (texture.file, kind, linear and kind == TextureKind.FLOAT)
        if key not in self._bases:
            if kind == TextureKind.PACKED:
                words = pixels.astype(np.uint32) << np.array([0, 8, 16], np.uint32)
                self._bases[key] = sum(len(p) for p in self._packed)
                self._packed.append(words.sum(axis=2, dtype=np.uint32).ravel())
            else:
                self._bases[key] = sum(len(p) for p in self._floats)
                self._floats.append(values.reshape(-1, 3))
        record.base = self._bases[key]
