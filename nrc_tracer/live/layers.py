"""Layers as pictures: colours for normals, depths and numbers."""

from __future__ import annotations

import numpy as np

from nrc_tracer.imaging.tonemap import encode_srgb


def layer_colors(name: str, layer: np.ndarray) -> np.ndarray:
    """Colours of a layer for a display.

    Normals are mapped from [-1, 1] to [0, 1], the correction likewise, with grey for 0; depths are brighter when nearer; shapes
    and materials have one colour each; other layers are scaled so that their 99th percentile is white, unless they lie in [0, 1]
    as the albedo does.

    Args:
        name: Name of the layer, as in `Renderer.layers`.
        layer: Its values, [height, width] or [height, width, 3].

    Returns:
        sRGB values in [0, 1], shape [height, width, 3], float32.
    """
    if layer.dtype.kind == "i":
        return np.where(layer[..., None] < 0, 0.0, _number_colors(layer)).astype(np.float32)
    values = np.where(np.isfinite(layer), layer, 0.0).astype(np.float32)
    if name == "normal":
        return np.where(np.any(values != 0.0, axis=-1, keepdims=True), 0.5 + 0.5 * values, 0.0).astype(np.float32)
    if name == "correction":
        most = max(float(np.percentile(np.abs(values), 99.0)), 1e-30)
        return np.clip(0.5 + 0.5 * values / most, 0.0, 1.0)
    if name == "depth":
        nearest = values[values > 0.0].min(initial=np.inf)
        values = np.where(values > 0.0, nearest / np.maximum(values, 1e-30), 0.0).astype(np.float32)
    elif name == "position":
        low, high = values.min(axis=(0, 1)), values.max(axis=(0, 1))
        values = (values - low) / np.maximum(high - low, 1e-30)
    elif name != "albedo":
        values = values / max(float(np.percentile(values, 99.0)), 1e-30)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    return encode_srgb(np.clip(values, 0.0, 1.0))


def _number_colors(numbers: np.ndarray) -> np.ndarray:
    """A colour for each number, [..., 3]: consecutive numbers differ clearly."""
    # Multiples of the golden ratio, modulo 1, are spread evenly
    phase = (numbers[..., None] * 0.6180339887 + np.array([0.0, 1.0, 2.0]) / 3.0) % 1.0
    return 0.25 + 0.7 * np.abs(2.0 * phase - 1.0)
