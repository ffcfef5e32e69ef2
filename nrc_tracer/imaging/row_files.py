"""Writing PNG, TIFF and EXR some rows at a time, so that the image is never in memory as a whole.

Source for PNG: W3C, "Portable Network Graphics (PNG) Specification", sections 4, 9 and 10.
"""

from __future__ import annotations

import operator
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from nrc_tracer.errors import OutputError, nearest, one_line
from nrc_tracer.files.atomic import replacing
from nrc_tracer.imaging.png16 import SIGNATURE

ROW_EXTENSIONS = (".exr", ".png", ".tif", ".tiff")
BIG_TIFF = 2**31
"""Size of the pixels from which on a TIFF is written as BigTIFF [bytes]."""
MAX_SIDE = 2**31 - 1
"""Largest width and height [pixels]."""

_CHUNK = 2**20
"""Approximate size of a chunk of a PNG [bytes]."""
_COLOR_TYPES = {1: 0, 3: 2}
"""PNG's number of a colour type, by the number of channels."""
_SUB = 1
"""PNG's number of the row filter that subtracts the pixel to the left."""
_COMPRESSION = 4
"""Level of zlib's compression."""


def write_rows(
    path: str | Path, blocks: Iterable[np.ndarray], *, width: int, height: int, channels: int, dtype: np.dtype | type
) -> Path:
    """Write an image from blocks of its rows. An existing file is replaced only when the new one is complete.

    Args:
        path: `.png` (uint8 or uint16), `.tif` (any type, uncompressed strips; BigTIFF if large) or `.exr` (float32).
        blocks: Rows from the top, in blocks of shape [n, width, channels], of type `dtype`.
        width: Width [pixels], any integer type.
        height: Height [pixels], any integer type.
        channels: Number of channels, 1 or 3.
        dtype: uint8, uint16 or float32.

    Returns:
        The path.

    Raises:
        OutputError: Files with this extension do not have samples of this type, or the file cannot be written.
    """
    path = Path(path)
    dtype = np.dtype(dtype)
    width, height, channels = operator.index(width), operator.index(height), operator.index(channels)
    write = check_row_file(path, dtype)
    with replacing(path) as temporary:
        write(temporary, _checked(blocks, width, height, channels, dtype), width, height, channels, dtype)
    return path


def check_row_file(path: Path, dtype: np.dtype | type | None) -> Callable[..., None]:
    """Return the function that writes a file, by its extension.

    Raises:
        OutputError: There is none for this extension with samples of this type (None: of any type).
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise OutputError(f'{path}: unknown image format "{path.suffix}"{nearest(suffix, ROW_EXTENSIONS)}')
    write, kinds = _WRITERS[suffix]
    if dtype is not None and np.dtype(dtype).name not in kinds:
        raise OutputError(f"{path}: samples of a {suffix} file are {' or '.join(kinds)}, not {np.dtype(dtype).name}")
    return write


def _checked(
    blocks: Iterable[np.ndarray], width: int, height: int, channels: int, dtype: np.dtype
) -> Iterator[np.ndarray]:
    """Yield the blocks, and check their shapes and the number of rows."""
    rows = 0
    for block in blocks:
        if block.shape[1:] != (width, channels) or block.dtype != dtype:
            raise ValueError(
                f"rows of shape {block.shape} and type {block.dtype}, not [n, {width}, {channels}] {dtype}"
            )
        rows += len(block)
        yield block
    if rows != height:
        raise ValueError(f"{rows} rows for an image of {height}")


def _write_png(
    path: Path, blocks: Iterator[np.ndarray], width: int, height: int, channels: int, dtype: np.dtype
) -> None:
    size = dtype.itemsize * channels
    deflate = zlib.compressobj(_COMPRESSION)
    with path.open("wb") as file:

        def chunk(name: bytes, data: bytes) -> None:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))

        file.write(SIGNATURE)
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * dtype.itemsize, _COLOR_TYPES[channels], 0, 0, 0))
        waiting = bytearray()
        for block in blocks:
            # Subtract the pixel to the left, byte by byte
            raw = block.astype(dtype.newbyteorder(">")).reshape(len(block), -1).view(np.uint8)
            rows = np.empty((len(block), 1 + raw.shape[1]), np.uint8)
            rows[:, 0] = _SUB
            rows[:, 1 : 1 + size] = raw[:, :size]
            np.subtract(raw[:, size:], raw[:, :-size], out=rows[:, 1 + size :])
            waiting += deflate.compress(rows.tobytes())
            if len(waiting) >= _CHUNK:
                chunk(b"IDAT", bytes(waiting))
                waiting.clear()
        chunk(b"IDAT", bytes(waiting) + deflate.flush())
        chunk(b"IEND", b"")


def _write_tiff(
    path: Path, blocks: Iterator[np.ndarray], width: int, height: int, channels: int, dtype: np.dtype
) -> None:
    try:
        import tifffile
    except ImportError as error:
        raise OutputError(
            f"{path.name}: writing TIFF needs the package tifffile: pip install nrc-tracer[tasks]"
        ) from error
    shape = (height, width, 3) if channels == 3 else (height, width)
    row_bytes = width * channels * dtype.itemsize
    strip = max(1, min(height, 2**18 // row_bytes))
    tifffile.imwrite(
        path,
        _strips(blocks, strip, channels),
        shape=shape,
        dtype=dtype,
        photometric="rgb" if channels == 3 else "minisblack",
        rowsperstrip=strip,
        bigtiff=row_bytes * height >= BIG_TIFF,
        metadata=None,
    )


def _strips(blocks: Iterator[np.ndarray], rows: int, channels: int) -> Iterator[np.ndarray]:
    """Yield the same rows in blocks of `rows`, the last one perhaps shorter."""
    waiting: list[np.ndarray] = []
    count = 0
    for block in blocks:
        while len(block):
            part, block = block[: rows - count], block[rows - count :]
            waiting.append(part)
            count += len(part)
            if count == rows:
                joined = np.concatenate(waiting)
                yield np.ascontiguousarray(joined if channels == 3 else joined[:, :, 0])
                waiting, count = [], 0
    if count:
        joined = np.concatenate(waiting)
        yield np.ascontiguousarray(joined if channels == 3 else joined[:, :, 0])


def _write_exr(
    path: Path, blocks: Iterator[np.ndarray], width: int, height: int, channels: int, dtype: np.dtype
) -> None:
    import OpenEXR

    names = "RGB" if channels == 3 else "Y"
    output = getattr(OpenEXR, "OutputFile", None)
    try:
        if output is None:  # this version of OpenEXR only writes whole images
            pixels = np.concatenate(list(blocks))
            header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            planes = {name: np.ascontiguousarray(pixels[:, :, i]) for i, name in enumerate(names)}
            OpenEXR.File(header, planes).write(str(path))
            return
        import Imath

        header = OpenEXR.Header(width, height)
        header["channels"] = {name: Imath.Channel(Imath.PixelType(Imath.PixelType.FLOAT)) for name in names}
        header["compression"] = Imath.Compression(Imath.Compression.ZIP_COMPRESSION)
        file = output(str(path), header)
        try:
            for block in blocks:
                rows = {name: np.ascontiguousarray(block[:, :, i]).tobytes() for i, name in enumerate(names)}
                file.writePixels(rows, len(block))
        finally:
            file.close()
    except (RuntimeError, TypeError) as error:
        raise OSError(one_line(error)) from error


_WRITERS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    ".png": (_write_png, ("uint8", "uint16")),
    ".tif": (_write_tiff, ("uint8", "uint16", "float32")),
    ".tiff": (_write_tiff, ("uint8", "uint16", "float32")),
    ".exr": (_write_exr, ("float32",)),
}
