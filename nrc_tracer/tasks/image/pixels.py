"""From samples as they are stored to what the model learns, and from there to what files hold; the plain twin of the kernels."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nrc_tracer.imaging.tonemap import decode_srgb, encode_srgb

Space = Literal["srgb", "linear"]
SPACES: tuple[Space, ...] = ("srgb", "linear")
"""Where the model learns colours: sRGB values in [0, 1], or linear light."""


def default_space(linear_source: bool) -> Space:
    """The space of the file itself: linear light for float samples, sRGB for integers."""
    return "linear" if linear_source else "srgb"


def to_space(samples: np.ndarray, *, linear: bool, space: Space) -> np.ndarray:
    """Stored samples, any shape, as float32 in a space.

    Integers are divided by their largest value. Linear samples that become sRGB are clipped to [0, 1]; what is not finite is 0.

    Args:
        samples: uint8, uint16, float16 or float32.
        linear: Whether they are linear light.
        space: The space.
    """
    if samples.dtype.kind == "f":
        values = samples.astype(np.float32)
        values = np.where(np.isfinite(values), values, np.float32(0.0))
    else:
        values = samples.astype(np.float32) * np.float32(1.0 / np.iinfo(samples.dtype).max)
    if linear and space == "srgb":
        return encode_srgb(np.clip(values, 0.0, 1.0))
    if not linear and space == "linear":
        return decode_srgb(values)
    return values


def to_srgb(values: np.ndarray, space: Space) -> np.ndarray:
    """The model's values as sRGB in [0, 1], float32."""
    clipped = np.clip(values, 0.0, 1.0)
    return clipped if space == "srgb" else encode_srgb(clipped)


def to_linear(values: np.ndarray, space: Space) -> np.ndarray:
    """The model's values as linear light, float32, not below 0."""
    return np.maximum(values, 0.0) if space == "linear" else decode_srgb(np.clip(values, 0.0, 1.0))
