"""Layers of an image in files: as parts of one EXR, or as pictures beside the image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nrc_tracer.errors import OutputError, one_line
from nrc_tracer.files.atomic import replacing
from nrc_tracer.imaging.tonemap import eight_bits, encode_srgb

LAYER_EXTENSIONS = (".exr", ".npy", ".png")

_CHANNELS = {"normal": "XYZ", "position": "XYZ", "depth": ("Z",), "shape": ("id",), "material": ("id",)}
_NUMBERS = ("Y",)
"""Channel of other layers with one number per pixel."""
_GOLDEN = 0.6180339887498949
"""The golden ratio minus 1."""


def write_layers(path: str | Path, rgb: np.ndarray, layers: Mapping[str, np.ndarray]) -> list[Path]:
    """Write an image's layers.

    Args:
        path: The image's file. `.exr` becomes one file of several parts: the image, named `beauty`, with channels R, G, B, and
            each layer under its name, with channels such as `albedo.R`, `normal.X`, `depth.Z` and `shape.id`, all float32.
            With `.npy` and `.png` each layer is a separate file, `image.albedo.png` beside `image.png`. A PNG shows normals
            and positions as colours, depth from white (near) to black (far), the square root of variance, ids in easily
            distinguished colours (black for none), and other numbers from black (0) to white (the largest).
        rgb: The image, linear, shape [height, width, 3]; only written to `.exr`.
        layers: Layers by name, each of shape [height, width, 3] or [height, width].

    Returns:
        The files written.

    Raises:
        OutputError: Files with this extension have no layers, or a file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in LAYER_EXTENSIONS:
        raise OutputError(f'{path}: a "{suffix}" file has no layers; use {", ".join(LAYER_EXTENSIONS)}')
    if suffix == ".exr":
        with replacing(path) as temporary:
            _write_parts(temporary, rgb, layers)
        return [path]
    written = []
    for name, layer in layers.items():
        place = layer_path(path, name)
        with replacing(place) as temporary:
            if suffix == ".npy":
                with temporary.open("wb") as file:
                    np.save(file, layer, allow_pickle=False)
            else:
                import PIL.Image

                picture = eight_bits(_picture(name, layer))
                PIL.Image.fromarray(picture).save(temporary, format="PNG")
        written.append(place)
    return written


def layer_path(path: Path, name: str) -> Path:
    """Return the file of a layer beside an image: `a.albedo.png` for `a.png`."""
    return path.with_name(f"{path.stem}.{name}{path.suffix}")


def _write_parts(path: Path, rgb: np.ndarray, layers: Mapping[str, np.ndarray]) -> None:
    import OpenEXR

    parts = [OpenEXR.Part(_header(), {"RGB": np.ascontiguousarray(rgb, dtype=np.float32)}, "beauty")]
    for name, layer in layers.items():
        planes = layer[:, :, None] if layer.ndim == 2 else layer
        channels = {
            f"{name}.{letter}": np.ascontiguousarray(planes[:, :, i], dtype=np.float32)
            for i, letter in enumerate(_CHANNELS.get(name, "RGB" if planes.shape[2] == 3 else _NUMBERS))
        }
        parts.append(OpenEXR.Part(_header(), channels, name))
    try:
        OpenEXR.File(parts).write(str(path))
    except RuntimeError as error:
        raise OSError(one_line(error)) from error


def _header() -> dict:
    import OpenEXR

    return {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}


def _picture(name: str, layer: np.ndarray) -> np.ndarray:
    """Return a layer as display values in [0, 1], shape [height, width] or [height, width, 3]."""
    if name == "normal":
        return np.where(np.any(layer != 0.0, axis=2, keepdims=True), 0.5 * layer + 0.5, 0.0)
    if name == "position":
        seen = np.any(layer != 0.0, axis=2)
        return np.where(seen[:, :, None], _stretched(layer, seen), 0.0)
    if name == "depth":
        seen = np.isfinite(layer)
        return np.where(seen, 1.0 - 0.9 * _stretched(np.where(seen, layer, 0.0), seen), 0.0)
    if name in ("shape", "material"):
        return _distinct_colors(layer)
    if name == "variance":
        deviation = np.sqrt(np.maximum(layer, 0.0))
        return encode_srgb(np.clip(deviation / max(float(np.percentile(deviation, 99)), 1e-30), 0.0, 1.0))
    if layer.ndim == 2:
        return layer / max(float(layer.max()), 1e-30)
    return encode_srgb(np.clip(layer, 0.0, 1.0))


def _stretched(layer: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Scale each channel linearly, from 0 for its smallest visible value to 1 for its largest."""
    if not seen.any():
        return np.zeros_like(layer)
    low, high = layer[seen].min(axis=0), layer[seen].max(axis=0)
    return (layer - low) / np.where(high > low, high - low, 1.0)


def _distinct_colors(numbers: np.ndarray) -> np.ndarray:
    """Return a colour for each number, with hues a golden ratio apart; black for -1."""
    hue = np.mod(np.maximum(numbers, 0)[..., None] * _GOLDEN + np.array([0.0, 1.0 / 3.0, 2.0 / 3.0]), 1.0)
    colors = np.clip(np.abs(6.0 * hue - 3.0) - 1.0, 0.0, 1.0) * 0.8 + 0.2
    brightness = 1.0 - 0.2 * np.mod(np.maximum(numbers, 0), 3)
    return np.where((numbers >= 0)[..., None], colors * brightness[..., None], 0.0)
