"""NumPy's `.npy` files, read in place, and NumPy arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError, one_line
from nrc_tracer.tasks.image.decoded import check_size
from nrc_tracer.tasks.image.scratch import map_file
from nrc_tracer.tasks.image.source import ALPHA, DTYPES, Source, mapped_source, whole

MAGIC = b"\x93NUMPY"


def open_npy(path: Path, name: str) -> Source:
    """Open an array [height, width] or [height, width, 1 to 4], uint8 or uint16 (sRGB), float16 or float32 (linear).

    Raises:
        DataError: The file is truncated, or the array has another shape or type.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            begin = file.tell()
    except (ValueError, OSError) as error:
        raise DataError(f"{name}: not a readable array: {one_line(error)}") from error
    shape = _image_shape(name, shape, dtype)
    if fortran:
        raise DataError(f"{name}: its columns are stored one after the other; save it with numpy.ascontiguousarray")
    height, width, stored = shape
    check_size(name, width, height)
    end = begin + height * width * stored * dtype.itemsize
    size = path.stat().st_size
    if size < end:
        raise DataError(f"{name}: not a readable array, or cut off: its pixels end at byte {end}, the file at {size}")
    return mapped_source(
        name,
        map_file(path),
        dtype,
        size=(width, height),
        tile_size=(width, height),
        offsets=np.full((1, 1), begin, np.int64),
        stored_channels=stored,
        channels=3 if stored >= 3 else 1,
        notes=[],
    )


def array_source(pixels: np.ndarray, name: str = "array") -> Source:
    """A source of pixels in memory, of the shapes and types that `open_npy` takes. Raises `DataError`."""
    shape = _image_shape(name, pixels.shape, pixels.dtype)
    check_size(name, shape[1], shape[0])
    channels = 3 if shape[2] >= 3 else 1
    notes = [ALPHA] if shape[2] > channels else []
    return whole(name, pixels.reshape(shape), linear=pixels.dtype.kind == "f", channels=channels, notes=notes)


def _image_shape(name: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, int, int]:
    """Height, width and channels of an array. Raises `DataError` if it is not an image."""
    if not 2 <= len(shape) <= 3 or not 1 <= (*shape, 1)[2] <= 4:
        raise DataError(
            f"{name}: an array of shape {list(shape)}; an image has shape [height, width] or [height, width, 1 to 4]"
        )
    if dtype.str[1:] not in DTYPES:
        raise DataError(f"{name}: an array of {dtype}; an image has uint8, uint16, float16 or float32")
    return shape[0], shape[1], (*shape, 1)[2]
