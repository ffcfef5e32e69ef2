"""TIFF and BigTIFF through tifffile: uncompressed strips and tiles are read in place, compressed ones are decoded once."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nrc_tracer.errors import DataError, one_line
from nrc_tracer.imaging.orientation import TAG, UPRIGHT
from nrc_tracer.tasks.image.decoded import Decoder, check_size, decode
from nrc_tracer.tasks.image.memory import format_size
from nrc_tracer.tasks.image.pillow import open_with_pillow
from nrc_tracer.tasks.image.scratch import map_file
from nrc_tracer.tasks.image.source import DTYPES, Source, mapped_source
from nrc_tracer.tasks.image.tiff_segments import decode_segment, needs_pillow

if TYPE_CHECKING:
    import tifffile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_NONE, _MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _SEPARATED, _YCBCR, _CIELAB = 1, 0, 1, 2, 3, 5, 6, 8
_CONTIGUOUS = 1


def open_tiff(path: Path, name: str, memory: int) -> Source:
    """Open the first page of a file: grey or RGB, with or without alpha, 8 or 16 bits or floating-point.

    Args:
        path: The file.
        name: File name, for messages.
        memory: Memory budget in bytes.

    Raises:
        DataError: The file is damaged or of another kind, or its compression needs a package that is not installed.
    """
    try:
        import tifffile
    except ImportError as error:
        raise DataError(f"{name}: reading TIFF needs the package tifffile: pip install nrc-tracer[tasks]") from error
    try:
        file = tifffile.TiffFile(path)
    except (tifffile.TiffFileError, ValueError, OSError) as error:
        raise DataError(f"{name}: not a readable image: {one_line(error)}") from error
    try:
        if not len(file.pages):
            raise DataError(f"{name}: not a readable image: it has no page")
        page = file.pages.first
        notes = [f"only the first of its {len(file.pages)} pages is used"] if len(file.pages) > 1 else []
        if _only_pillow_reads(page):
            return decode(open_with_pillow(path, name, memory, formats=("TIFF",), notes=notes), memory)
        _check(page, name)
        orientation = _orientation(page)
        dtype = np.dtype(page.dtype).newbyteorder(file.byteorder)
        plain = page.compression == _NONE and page.fillorder == 1 and page.photometric in (_MIN_IS_BLACK, _RGB)
        contiguous = page.planarconfig == _CONTIGUOUS or page.samplesperpixel == 1
        if plain and contiguous and orientation == UPRIGHT and page.predictor == 1 and dtype.str[1:] in DTYPES:
            return _in_place(page, path, name, dtype, notes)
        decoder = _decoder(page, name, memory, notes)
        decoder.orientation = orientation
        return decode(decoder, memory)
    finally:
        file.close()


def _only_pillow_reads(page: tifffile.TiffPage) -> bool:
    """Whether tifffile does not convert the colours of a page to RGB, or its samples are 32-bit integers."""
    if page.imagedepth != 1 or page.dtype is None:
        return False
    return page.photometric in (_SEPARATED, _CIELAB) or np.dtype(page.dtype).str[1:] in ("i4", "u4")


def _orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get(TAG)
    return tag.value if tag is not None and tag.value in range(1, 9) else UPRIGHT


def _check(page: tifffile.TiffPage, name: str) -> None:
    check_size(name, page.imagewidth, page.imagelength)
    if page.imagedepth != 1:
        raise DataError(f"{name}: not a readable image: volumes are not supported")
    if page.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR):
        kind = getattr(page.photometric, "name", page.photometric)
        raise DataError(f"{name}: not a readable image: {kind} colours are not supported; convert it to RGB")
    dtype = None if page.dtype is None else np.dtype(page.dtype)
    # Packed samples of 4 bits are reported as uint8, and of 12 bits as uint16
    known = dtype is not None and dtype.str[1:] in (*DTYPES, "f8", "b1")
    if dtype is None or not known or page.bitspersample != (1 if dtype.kind == "b" else 8 * dtype.itemsize):
        raise DataError(
            f"{name}: not a readable image: samples of {page.bitspersample} bits ({page.dtype}) are not supported; convert it "
            "to 8 or 16 bits or to floating-point"
        )


def _in_place(page: tifffile.TiffPage, path: Path, name: str, dtype: np.dtype, notes: list[str]) -> Source:
    width, height, stored = page.imagewidth, page.imagelength, page.samplesperpixel
    if page.is_tiled:
        tile_width, tile_height = page.tilewidth, page.tilelength
    else:
        tile_width, tile_height = width, min(page.rowsperstrip or height, height)
    down, across = -(-height // tile_height), -(-width // tile_width)
    offsets = np.asarray(page.dataoffsets, np.int64)
    if len(offsets) != down * across or page.imagedepth != 1:
        raise DataError(f"{name}: not a readable image: {len(offsets)} pieces instead of {down * across}")
    row_bytes = tile_width * stored * dtype.itemsize
    last_rows = height - (down - 1) * tile_height if not page.is_tiled else tile_height
    sizes = np.full((down, across), tile_height * row_bytes, np.int64)
    sizes[-1] = last_rows * row_bytes
    mapped = map_file(path)
    ends = offsets.reshape(down, across) + sizes
    if offsets.min() < 8 or ends.max() > len(mapped):
        raise DataError(
            f"{name}: not a readable image, or cut off: its pixels end at byte {ends.max()}, the file at {len(mapped)}"
        )
    with suppress(AttributeError, OSError):
        mapped.madvise(mmap.MADV_RANDOM)
    return mapped_source(
        name,
        mapped,
        dtype,
        size=(width, height),
        tile_size=(tile_width, tile_height),
        offsets=offsets.reshape(down, across),
        stored_channels=stored,
        channels=3 if stored >= 3 and page.photometric == _RGB else 1,
        notes=notes,
    )


def _decoder(page: tifffile.TiffPage, name: str, memory: int, notes: list[str]) -> Decoder:
    """A decoder of a page that cannot be read in place."""
    dtype = np.dtype(page.dtype).newbyteorder("=")
    palette = None
    if page.photometric == _PALETTE:
        palette = np.asarray(page.colormap).T.astype(np.uint16)
        stored, channels, dtype = 1, 3, np.dtype(np.uint16)
    else:
        stored = page.samplesperpixel
        color = stored >= 3 and page.photometric in (_RGB, _YCBCR)
        channels = min(stored, 4) if color else min(stored, 2)
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    elif dtype == np.float64:
        dtype = np.dtype(np.float32)
        notes.append("float64 is read as float32")

    def finished(band: np.ndarray) -> np.ndarray:
        if palette is not None:
            return palette[band[:, :, 0]]
        if band.dtype.kind == "b":
            band = band.astype(np.uint8) * 255
        if page.photometric == _MIN_IS_WHITE and dtype.kind == "u":
            band = np.iinfo(dtype).max - band
        return band[:, :, :channels].astype(dtype, copy=False)

    def blocks() -> Iterator[np.ndarray]:
        try:
            for band in _bands(page, name, memory):
                yield finished(band)
        except DataError:
            raise
        except Exception as error:  # decoders raise almost any exception on damaged files
            message = one_line(error)
            if "imagecodecs" in message:
                raise DataError(
                    f"{name}: its compression needs the package imagecodecs: pip install imagecodecs, or convert the image to "
                    "an uncompressed TIFF"
                ) from error
            raise DataError(f"{name}: not a readable image, or cut off: {message}") from error

    return Decoder(name, page.imagewidth, page.imagelength, channels, dtype, blocks(), notes)


def _bands(page: tifffile.TiffPage, name: str, memory: int) -> Iterator[np.ndarray]:
    """Yield decoded rows [n, width, samples], a row of strips or tiles at a time."""
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    if needs_pillow(page):
        segments = _decoded_by_pillow(page)
    else:
        segments = page.segments(maxworkers=1)
    if page.planarconfig != _CONTIGUOUS and samples > 1:
        size = width * height * samples * np.dtype(page.dtype).itemsize
        if size > memory:
            raise DataError(
                f"{name}: its channels are stored one after the other, and interleaving them takes {format_size(size)}; give a "
                "larger --memory or convert it to interleaved samples"
            )
        if needs_pillow(page):
            planes = np.zeros((samples, height, width), page.dtype)
            for data, (sample, _, y, x, _), shape in segments:
                if data is None:
                    continue
                rows, columns = min(shape[1], height - y), min(shape[2], width - x)
                planes[sample, y : y + rows, x : x + columns] = data[0, :rows, :columns, 0]
        else:
            planes = page.asarray().reshape(samples, height, width)
        yield np.moveaxis(planes, 0, 2)
        return
    band, top = None, 0
    for data, index, shape in segments:
        _, _, y, x, _ = index
        rows, columns = min(shape[1], height - y), min(shape[2], width - x)
        if band is None or y != top:
            if band is not None:
                yield band
            band, top = np.zeros((rows, width, samples), page.dtype), y
        if data is None:
            continue
        if data.shape[-3] < rows:
            raise DataError(f"{name}: not a readable image, or cut off: {data.shape[-3]} rows of {rows} from row {y}")
        band[:, x : x + columns] = data.reshape(data.shape[-3:])[:rows, :columns]
    if band is not None:
        yield band


Segment = tuple[np.ndarray | None, tuple[int, int, int, int, int], tuple[int, int, int, int]]
"""Samples of a strip or tile, [1, rows, columns, samples] or None; its plane, depth, row and column, and 0; its shape."""


def _decoded_by_pillow(page: tifffile.TiffPage) -> Iterator[Segment]:
    """What `page.segments` yields, decoded by Pillow."""
    width, height = page.imagewidth, page.imagelength
    tile_width = page.tilewidth if page.is_tiled else width
    tile_height = page.tilelength if page.is_tiled else min(page.rowsperstrip or height, height)
    down, across = -(-height // tile_height), -(-width // tile_width)
    samples = page.samplesperpixel if page.planarconfig == _CONTIGUOUS else 1
    for number, (offset, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        plane, piece = divmod(number, down * across)
        y, x = piece // across * tile_height, piece % across * tile_width
        rows = tile_height if page.is_tiled else min(tile_height, height - y)
        shape = (1, rows, tile_width, samples)
        if not size:
            yield None, (plane, 0, y, x, 0), shape
            continue
        handle = page.parent.filehandle
        handle.seek(offset)
        pixels = decode_segment(page, handle.read(size), rows, tile_width)
        yield pixels[None], (plane, 0, y, x, 0), shape
