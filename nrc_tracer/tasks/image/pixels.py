"""Converting stored samples to the values that the model learns, and back to those of files; the NumPy twin of the kernels."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nrc_tracer.imaging.tonemap import decode_srgb, encode_srgb

Space = Literal["srgb", "linear"]
SPACES: tuple[Space, ...] = ("srgb", "linear")
"""Colour spaces of training: sRGB values in [0, 1], or linear light."""


def default_space(linear_source: bool) -> Space:
    """The file's own space: linear light for floating-point samples, sRGB for integers."""
    return "linear" if linear_source else "srgb"


def to_space(samples: np.ndarray, *, linear: bool, space: Space) -> np.ndarray:
    """Convert stored samples of any shape to float32 in a colour space.

    Integers are divided by their largest value. Linear samples converted to sRGB are clipped to [0, 1]. Values that are not
    finite become 0.

    Args:
        samples: uint8, uint16, float16 or float32.
        linear: Whether the samples are linear light; otherwise they are sRGB.
        space: The colour space.
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
    """The model's values as linear light, float32, at least 0."""
    return np.maximum(values, 0.0) if space == "linear" else decode_srgb(np.clip(values, 0.0, 1.0))
