"""Image files as 8-bit sRGB with straight alpha, the form in which training reads them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nrc_tracer.errors import DataError, SceneError, one_line
from nrc_tracer.imaging.files import PILLOW_FORMATS, float_size, read_image
from nrc_tracer.imaging.orientation import UPRIGHT, orientation_of, shown, stored, swaps_sides
from nrc_tracer.imaging.tonemap import eight_bits, encode_srgb


class PhotographHead(NamedTuple):
    """What the header of an image file says.

    Attributes:
        width, height: Size in pixels as the image is shown, with its orientation applied.
        has_alpha: Whether there is alpha.
        orientation: Its EXIF orientation, 1 to 8.
    """

    width: int
    height: int
    has_alpha: bool
    orientation: int = UPRIGHT

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the pixels as they are stored."""
        return (self.height, self.width) if swaps_sides(self.orientation) else (self.width, self.height)


def photograph_head(path: Path, place: str) -> PhotographHead:
    """Read the header of an image file.

    Raises:
        DataError: The file cannot be read; the message begins with `place`.
    """
    import PIL.Image

    try:
        if path.suffix.lower() in (".exr", ".hdr"):  # which Pillow does not know
            height, width, channels = float_size(path)
            return PhotographHead(width, height, channels == 4)
        with PIL.Image.open(path, formats=PILLOW_FORMATS) as image:
            has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
            orientation, (width, height) = orientation_of(image), image.size
            if swaps_sides(orientation) and image.format != "TIFF":  # whose size Pillow gives as it is shown
                width, height = height, width
            return PhotographHead(width, height, has_alpha, orientation)
    except SceneError as error:
        raise DataError(f"{place}: {error}") from error
    except Exception as error:  # decoders raise almost any exception on damaged files
        raise DataError(f"{place}: {path}: not a readable image: {one_line(error)}") from error


def read_photograph(path: Path, place: str, *, upright: bool = True) -> np.ndarray:
    """Read an image as uint8 [height, width, 3 or 4], sRGB with straight alpha.

    Its EXIF orientation is applied, unless `upright` is False. Integers are sRGB; 16 bits are rounded to 8. Floating-point
    samples are linear: they are divided by alpha, as EXR holds premultiplied colours, and clipped to [0, 1]. Grey becomes RGB.

    Raises:
        DataError: The file cannot be read; the message begins with `place`.
    """
    try:
        pixels = read_image(path)
    except SceneError as error:
        raise DataError(f"{place}: {error}") from error
    orientation = UPRIGHT if path.suffix.lower() in (".exr", ".hdr") else photograph_head(path, place).orientation
    if orientation != UPRIGHT:
        is_shown = _is_tiff(path)  # Pillow turns TIFF
        if upright and not is_shown:
            pixels = shown(pixels, orientation)
        elif is_shown and not upright:
            pixels = stored(pixels, orientation)
        pixels = np.ascontiguousarray(pixels)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype == np.float32:
        pixels = _encoded(np.nan_to_num(pixels, nan=0.0, posinf=1e30, neginf=0.0))
    return pixels


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"II", b"MM")


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
