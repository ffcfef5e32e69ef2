"""OpenEXR images, decoded once, a few scanlines at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nrc_tracer.errors import DataError, one_line
from nrc_tracer.imaging.files import exr_channels
from nrc_tracer.tasks.image.decoded import Decoder, check_size
from nrc_tracer.tasks.image.memory import format_size

MAGIC = b"\x76\x2f\x31\x01"
BAND_PIXELS = 2**20
"""Approximate number of pixels per block."""


def open_exr(path: Path, name: str, memory: int) -> Decoder:
    """Open the first part of a file, in linear light.

    OpenEXR's `InputFile` reads ranges of scanlines. Versions of OpenEXR without it decode the whole image at once, if it fits.

    Args:
        path: The file.
        name: File name, for messages.
        memory: Memory budget in bytes.

    Raises:
        DataError: The file is damaged, deep or subsampled, or it must be decoded at once and does not fit.
    """
    import OpenEXR

    try:
        header = OpenEXR.File(str(path), header_only=True).parts[0].header
    except Exception as error:
        raise DataError(f"{name}: not a readable image: {one_line(error)}") from error
    if header.get("type") in (OpenEXR.deepscanline, OpenEXR.deeptile):
        raise DataError(f"{name}: not a readable image: deep EXR is not supported")
    (left, top), (right, bottom) = (corner.tolist() for corner in header["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    check_size(name, width, height)
    channels = {channel.name: channel for channel in header["channels"]}
    names = exr_channels(list(channels))
    if not names:
        raise DataError(f"{name}: not a readable image: no channels R, G, B or Y (found: {', '.join(channels)})")
    if any((channels[c].xSampling, channels[c].ySampling) != (1, 1) for c in names):
        raise DataError(f"{name}: not a readable image: subsampled EXR channels are not supported")
    input_file = getattr(OpenEXR, "InputFile", None)
    half = input_file is not None and _is_half(input_file(str(path)), names)
    dtype = np.dtype(np.float16 if half else np.float32)
    size = width * height * len(names) * dtype.itemsize
    if input_file is None and size > memory:
        raise DataError(
            f"{name}: this version of OpenEXR decodes the whole image at once, which takes {format_size(size)}; give a larger "
            "--memory"
        )

    def blocks() -> Iterator[np.ndarray]:
        try:
            if input_file is None:
                found = OpenEXR.File(str(path), separate_channels=True).parts[0].channels
                yield np.stack([found[c].pixels for c in names], axis=2).astype(dtype, copy=False)
                return
            import Imath

            kind = Imath.PixelType(Imath.PixelType.HALF if half else Imath.PixelType.FLOAT)
            file = input_file(str(path))
            try:
                rows = max(1, BAND_PIXELS // width)
                for y in range(top, bottom + 1, rows):
                    last = min(y + rows, bottom + 1) - 1
                    planes = file.channels(names, kind, y, last)
                    planes = [np.frombuffer(plane, dtype).reshape(last - y + 1, width) for plane in planes]
                    yield np.stack(planes, axis=2)
            finally:
                file.close()
        except Exception as error:
            raise DataError(f"{name}: not a readable image, or cut off: {one_line(error)}") from error

    return Decoder(name, width, height, len(names), dtype, blocks())


def _is_half(file: Any, names: list[str]) -> bool:
    """Whether all of the named channels have 16 bits."""
    import Imath

    try:
        kinds = file.header()["channels"]
        return all(kinds[name].type.v == Imath.PixelType.HALF for name in names)
    finally:
        file.close()
