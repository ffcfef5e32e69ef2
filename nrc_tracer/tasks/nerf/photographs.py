"""Image files as 8-bit sRGB with straight alpha, the form in which training reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError, SceneError, one_line
from nrc_tracer.imaging.files import float_size, read_image
from nrc_tracer.imaging.tonemap import eight_bits, encode_srgb


def photograph_size(path: Path, place: str) -> tuple[int, int, bool]:
    """Width and height in pixels, and whether there is alpha, from the header of an image file.

    Raises:
        DataError: The file cannot be read; the message begins with `place`.
    """
    import PIL.Image

    try:
        if path.suffix.lower() in (".exr", ".hdr"):  # which Pillow does not know
            height, width, channels = float_size(path)
            return width, height, channels == 4
        with PIL.Image.open(path) as image:
            return (
                image.width,
                image.height,
                image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info,
            )
    except SceneError as error:
        raise DataError(f"{place}: {error}") from error
    except Exception as error:  # decoders raise almost any exception on damaged files
        raise DataError(f"{place}: {path}: not a readable image: {one_line(error)}") from error


def read_photograph(path: Path, place: str) -> np.ndarray:
    """Read an image as uint8 [height, width, 3 or 4], sRGB with straight alpha.

    Integers are sRGB; 16 bits are rounded to 8. Floating-point samples are linear: they are divided by alpha, as EXR holds
    premultiplied colours, and clipped to [0, 1]. Grey becomes RGB.

    Raises:
        DataError: The file cannot be read; the message begins with `place`.
    """
    try:
        pixels = read_image(path)
    except SceneError as error:
        raise DataError(f"{place}: {error}") from error
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype == np.float32:
        pixels = _encoded(np.nan_to_num(pixels, nan=0.0, posinf=1e30, neginf=0.0))
    return pixels


def _encoded(pixels: np.ndarray) -> np.ndarray:
    colour = pixels[:, :, :3]
    if pixels.shape[2] == 4:
        alpha = np.clip(pixels[:, :, 3:], 0.0, 1.0)
        colour = np.where(alpha > 0.0, colour / np.maximum(alpha, 1e-6), 0.0)
        return eight_bits(np.concatenate((encode_srgb(np.clip(colour, 0.0, 1.0)), alpha), axis=2))
    return eight_bits(encode_srgb(np.clip(colour, 0.0, 1.0)))


def read_mask(path: Path, place: str) -> np.ndarray:
    """Read a mask as bool [height, width]: True where its first channel is at least half of its range.

    Raises:
        DataError: The file cannot be read; the message begins with `place`.
    """
    try:
        pixels = read_image(path)
    except SceneError as error:
        raise DataError(f"{place}: {error}") from error
    if pixels.dtype == np.float32:
        return pixels[:, :, 0] >= 0.5
    return pixels[:, :, 0] >= (np.iinfo(pixels.dtype).max + 1) // 2
