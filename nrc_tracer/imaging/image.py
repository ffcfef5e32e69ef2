"""An image in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrc_tracer.imaging.files import read_image, write_image
from nrc_tracer.imaging.tonemap import Tone, decode_srgb, eight_bits, tone_map

NOTEBOOK_SIDE = 1024
"""Longest side of the picture that a notebook shows [pixels]."""


@dataclass(frozen=True, eq=False)
class Image:
    """Linear colour, and how it was rendered. A notebook shows it as a tone-mapped picture.

    Attributes:
        rgb: Linear Rec. 709, shape [height, width, 3], float32; row 0 is the top.
        samples: Samples per pixel, 0 for an image that was not rendered.
        dropped: Number of samples that were left out because they were not finite.
    """

    rgb: np.ndarray
    samples: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        rgb = np.asarray(self.rgb, dtype=np.float32)
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
            raise ValueError(f"an image has the shape (height, width, 3), not {rgb.shape}")
        object.__setattr__(self, "rgb", rgb)

    @classmethod
    def load(cls, path: str | Path) -> Image:
        """Read an image file as linear colour: integers are taken as sRGB, alpha is ignored. Raises `SceneError`."""
        pixels = read_image(path)
        if pixels.dtype != np.float32:
            pixels = decode_srgb(pixels / np.float32(np.iinfo(pixels.dtype).max))
        return cls(pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels, 3, axis=2))

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.rgb.shape[1]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.rgb.shape[0]

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean linear red, green and blue, summed in float64."""
        red, green, blue = self.rgb.mean(axis=(0, 1), dtype=np.float64)
        return float(red), float(green), float(blue)

    def save(self, path: str | Path, *, tone: Tone = "srgb", exposure: float = 0.0) -> Path:
        """Write the image as `.exr`, `.hdr` or `.npy` (linear, unchanged) or `.png` (tone-mapped); return the path.

        See `nrc_tracer.imaging.write_image`. Raises `OutputError`.
        """
        return write_image(path, self.rgb, tone=tone, exposure=exposure)

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows: a PNG in sRGB, scaled down to at most `NOTEBOOK_SIDE` pixels along each side."""
        import PIL.Image

        picture = PIL.Image.fromarray(eight_bits(tone_map(self.rgb)))
        factor = -(-max(picture.size) // NOTEBOOK_SIDE)
        if factor > 1:
            picture = picture.reduce(factor)
        png = io.BytesIO()
        picture.save(png, format="PNG")
        return png.getvalue()
