"""An image in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrc_tracer.imaging.files import read_image, write_image
from nrc_tracer.imaging.tonemap import Tone, decode_srgb


@dataclass(frozen=True, eq=False)
class Image:
    """Linear colour and how it came to be.

    Attributes:
        rgb: Linear Rec. 709, shape [height, width, 3], float32; row 0 is the top.
        samples: Samples per pixel, 0 if it was not rendered.
        dropped: Samples that were left out because they were not finite.
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
        """The mean linear red, green and blue, summed in float64."""
        red, green, blue = self.rgb.mean(axis=(0, 1), dtype=np.float64)
        return float(red), float(green), float(blue)

    def save(self, path: str | Path, *, tone: Tone = "srgb", exposure: float = 0.0) -> Path:
        """Write the image as `.exr`, `.hdr` or `.npy` (linear, untouched) or `.png` (tone-mapped); return the path.

        See `nrc_tracer.imaging.write_image`. Raises `OutputError`.
        """
        return write_image(path, self.rgb, tone=tone, exposure=exposure)
