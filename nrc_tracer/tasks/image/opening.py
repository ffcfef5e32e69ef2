"""Opening an image of any format, recognised by its content, within a memory budget."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError, NrcError, one_line
from nrc_tracer.files.reading import reading
from nrc_tracer.imaging import png16, radiance_hdr
from nrc_tracer.imaging.files import pillow_without_limit, read_image
from nrc_tracer.imaging.orientation import UPRIGHT, orientation_of, shown
from nrc_tracer.tasks.image import arrays, exr, tiff
from nrc_tracer.tasks.image.decoded import check_size, decode
from nrc_tracer.tasks.image.memory import format_size
from nrc_tracer.tasks.image.pillow import open_with_pillow
from nrc_tracer.tasks.image.source import ALPHA, Source, whole

WHOLE_BYTES = 24
"""Approximate bytes per pixel while the package's own readers of 16-bit PNG and Radiance HDR decode an image."""


def open_source(path: str | os.PathLike[str], memory: int) -> Source:
    """Open an image.

    Args:
        path: TIFF, BigTIFF, EXR, PNG, JPEG, BMP, TGA, WebP, GIF, Radiance HDR or .npy.
        memory: Memory budget in bytes for opening it.

    Raises:
        DataError: The file is missing, damaged or not an image, or it does not fit.
    """
    path = Path(path)
    name = path.name or str(path)
    with reading(path, DataError):
        if path.is_dir():
            raise DataError(f"{path}: is a folder; give an image file")
        with path.open("rb") as file:
            head = file.read(32)
    if not head:
        raise DataError(f"{path}: not an image: the file is empty")
    try:
        if head.startswith(tiff.MAGIC):
            return tiff.open_tiff(path, name, memory)
        if head.startswith(arrays.MAGIC):
            return arrays.open_npy(path, name)
        if head.startswith(exr.MAGIC):
            return decode(exr.open_exr(path, name, memory), memory)
        if head.startswith(radiance_hdr.MAGIC):
            return _whole(path, name, *radiance_hdr.hdr_size(path.read_bytes()), memory)
        if png16.is_png16(head):
            return _whole(path, name, *png16.png_size(head), memory, is_png=True)
        return decode(open_with_pillow(path, name, memory), memory)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{name}: not enough memory to decode this image") from error
    except Exception as error:  # decoders raise almost any exception on damaged files
        raise DataError(f"{name}: not a readable image: {one_line(error)}") from error


def _png_orientation(path: Path) -> int:
    import PIL.Image

    with pillow_without_limit(), PIL.Image.open(path, formats=("PNG",)) as image:
        return orientation_of(image)


def _whole(path: Path, name: str, height: int, width: int, memory: int, *, is_png: bool = False) -> Source:
    """An image of a format that only the package's own readers know, decoded at once."""
    check_size(name, width, height)
    needed = WHOLE_BYTES * width * height
    if needed > memory:
        raise DataError(
            f"{name}: {width} x {height} pixels of this format take {format_size(needed)} to decode, but only "
            f"{format_size(memory)} may be used; give a larger --memory, or convert it to TIFF or EXR"
        )
    try:
        pixels = read_image(path)
    except NrcError as error:
        raise DataError(str(error)) from error
    channels = 3 if pixels.shape[2] >= 3 else 1
    notes = [ALPHA] if pixels.shape[2] > channels else []
    if is_png and (orientation := _png_orientation(path)) != UPRIGHT:
        pixels = shown(pixels, orientation)
        notes.append("its EXIF orientation is applied")
    picture = np.ascontiguousarray(pixels[:, :, :channels])
    return whole(name, picture, linear=picture.dtype.kind == "f", notes=notes)
