"""JPEG, PNG, BMP, TGA, WebP, GIF and rare kinds of TIFF through Pillow, or through pyvips where Pillow takes too much memory.

Pillow always decodes a whole image, with four bytes per colour pixel; no option makes it stream. So the size in the header is
compared with the memory budget first, and larger images need pyvips, which streams all formats but a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError, one_line
from nrc_tracer.imaging.files import FORMAT_NAMES, narrow_integers, pillow_without_limit
from nrc_tracer.imaging.orientation import UPRIGHT, orientation_of
from nrc_tracer.tasks.image.decoded import Decoder, check_size
from nrc_tracer.tasks.image.memory import format_size

FORMATS = ("PNG", "JPEG", "BMP", "TGA", "WEBP", "GIF")
WHOLE = ("GIF", "WEBP")
"""Formats that libvips, too, decodes as a whole, whatever the budget. Its decoder of GIF ends the process if memory runs out."""
BAND_PIXELS = 2**22
"""Approximate number of pixels per block."""
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I": 4, "F": 4}
"""Bytes per pixel in Pillow's memory, by mode; 4 for modes not listed."""


def open_with_pillow(
    path: Path, name: str, memory: int, *, formats: tuple[str, ...] = FORMATS, notes: Sequence[str] = ()
) -> Decoder:
    """Open the image in a file.

    Args:
        path: The file.
        name: File name, for messages.
        memory: Memory budget in bytes.
        formats: The formats that it may have, by Pillow's names.
        notes: Remarks for the user, to which others are added.

    Raises:
        DataError: The file is not an image, or decoding it exceeds the budget, and pyvips is not installed or cannot help.
    """
    import PIL.Image

    with pillow_without_limit():
        try:
            image = PIL.Image.open(path, formats=formats)
        except PIL.UnidentifiedImageError as error:
            raise DataError(f"{name}: not an image of a known format ({FORMAT_NAMES}, NPY)") from error
    width, height = image.size
    check_size(name, width, height)
    orientation = UPRIGHT if image.format == "TIFF" else orientation_of(image)  # Pillow turns TIFF itself
    needed = width * height * _BYTES.get(image.mode, 4)
    if needed > memory:
        image.close()
        if image.format in WHOLE:
            raise DataError(
                f"{name}: {width} x {height} pixels take {format_size(needed)} to decode, as a {image.format} is decoded as a "
                f"whole, but only {format_size(memory)} may be used; give a larger --memory, or convert it to TIFF or PNG"
            )
        decoder = _open_with_vips(path, name, width, height, needed, memory)
        decoder.orientation = orientation
        return decoder
    remarks = list(notes)
    if image.format != "TIFF" and getattr(image, "n_frames", 1) > 1:
        remarks.append("only the first of its pictures is used")
    integers: np.ndarray | None = None
    if image.mode in ("L", "RGB") or image.mode.startswith("I;16"):
        mode = image.mode
    elif image.mode == "1":
        mode = "L"
    elif image.mode in ("LA", "La", "PA", "RGBa", "RGBA") or "transparency" in image.info:
        mode = "RGBA"
    elif image.mode == "I":
        with image:
            integers = narrow_integers(np.array(image), name)
        mode = "I;16" if integers.dtype == np.uint16 else "L"
        remarks.append(f"its 32-bit integers are read as {8 * integers.itemsize}-bit")
    elif image.mode == "F":
        raise DataError(
            f"{name}: not a readable image: pixels of 32 bits are not supported in this format; use TIFF or EXR"
        )
    else:
        mode = "RGB"
        if image.mode not in ("P", "YCbCr", "RGBX"):
            remarks.append(f"{image.mode} colours are converted to RGB without their profile")
    wide = mode.startswith("I;16")
    channels = 1 if mode == "L" or wide else len(mode)
    dtype = np.dtype(np.uint16 if wide else np.uint8)

    def blocks() -> Iterator[np.ndarray]:
        if integers is not None:
            yield integers[:, :, None]
            return
        try:
            with image:
                image.load()
                rows = max(1, BAND_PIXELS // width)
                for y in range(0, height, rows):
                    band = image.crop((0, y, width, min(y + rows, height)))
                    band = band if band.mode == mode else band.convert(mode)
                    yield np.asarray(band).reshape(band.height, width, channels).astype(dtype, copy=False)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise DataError(f"{name}: not a readable image, or cut off: {one_line(error)}") from error

    return Decoder(name, width, height, channels, dtype, blocks(), remarks, orientation)


def _open_with_vips(path: Path, name: str, width: int, height: int, needed: int, memory: int) -> Decoder:
    """The same through pyvips, which decodes a few rows at a time."""
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise DataError(
            f"{name}: {width} x {height} pixels take {format_size(needed)} to decode, but only {format_size(memory)} may be "
            "used; give a larger --memory, convert the image to an uncompressed TIFF, which is read in place, or install "
            "pyvips, which decodes it in strips: pip install 'pyvips[binary]'"
        ) from error
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated")
        if image.format not in ("uchar", "ushort"):
            image = image.cast("uchar")
        if image.interpretation not in ("srgb", "rgb", "rgb16", "b-w", "grey16"):
            image = image.colourspace("srgb")
    except pyvips.Error as error:
        raise DataError(f"{name}: not a readable image: {one_line(error)}") from error
    dtype = np.dtype(np.uint16 if image.format == "ushort" else np.uint8)
    channels = image.bands

    def blocks() -> Iterator[np.ndarray]:
        try:
            rows = max(1, BAND_PIXELS // width)
            for y in range(0, height, rows):
                n = min(rows, height - y)
                data = image.crop(0, y, width, n).write_to_memory()
                yield np.frombuffer(data, dtype).reshape(n, width, channels)
        except pyvips.Error as error:
            raise DataError(f"{name}: not a readable image, or cut off: {one_line(error)}") from error

    return Decoder(name, width, height, channels, dtype, blocks(), ["decoded by pyvips, in strips"])
