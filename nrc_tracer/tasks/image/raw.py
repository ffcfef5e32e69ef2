"""NumPy's `.npy` files, read in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError, one_line
from nrc_tracer.tasks.image.decoded import ALPHA, check_size
from nrc_tracer.tasks.image.scratch import map_file
from nrc_tracer.tasks.image.source import DTYPES, Source

MAGIC = b"\x93NUMPY"


def open_npy(path: Path, name: str) -> Source:
    """An array [height, width] or [height, width, 1 to 4], uint8 or uint16 (sRGB), float16 or float32 (linear).

    Raises:
        DataError: It is cut off, or of another shape or type.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            begin = file.tell()
    except (ValueError, OSError) as error:
        raise DataError(f"{name}: not a readable array: {one_line(error)}") from error
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or not 1 <= shape[2] <= 4:
        raise DataError(
            f"{name}: an array of shape {list(shape)}; an image has [height, width] or [height, width, 1 to 4]"
        )
    if dtype.str[1:] not in DTYPES:
        raise DataError(f"{name}: an array of {dtype}; an image has uint8, uint16, float16 or float32")
    if fortran:
        raise DataError(f"{name}: its columns are stored one after the other; save it with numpy.ascontiguousarray")
    height, width, stored = shape
    check_size(name, width, height)
    end = begin + height * width * stored * dtype.itemsize
    size = path.stat().st_size
    if size < end:
        raise DataError(f"{name}: not a readable array, or cut off: its pixels end at byte {end}, the file at {size}")
    channels = 3 if stored >= 3 else 1
    mapped = map_file(path)
    return Source(
        name=name,
        width=width,
        height=height,
        channels=channels,
        stored_channels=stored,
        dtype=dtype,
        buffer=np.frombuffer(mapped, np.uint8),
        offsets=np.full((1, 1), begin, np.int64),
        tile_width=width,
        tile_height=height,
        linear=dtype.kind == "f",
        mapped=mapped,
        notes=[ALPHA] if stored > channels else [],
    )
