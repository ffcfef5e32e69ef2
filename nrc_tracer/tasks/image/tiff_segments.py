"""Decoding the strips and tiles of compressed TIFFs one at a time with Pillow alone.

tifffile decodes LZW, JPEG, WebP, Zstandard and predicted floating-point samples only where imagecodecs is installed. Pillow
brings libtiff, but reads no colours of 16 bits and always a whole image. So each strip or tile becomes a small TIFF of its own.
For codecs of bytes it is one of 8-bit grey, whose decoded bytes are the segment's samples, whatever their type; for codecs of
images it has the colours of the page.
"""

from __future__ import annotations

import importlib.util
import io
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tifffile

_DEFLATE = (8, 32946)
_OF_BYTES = {5, *_DEFLATE, 50000}
_JPEG = 7
_OF_IMAGES = {_JPEG, 50001}
"""Compressions by their numbers in TIFF: LZW, Deflate (two numbers) and Zstandard; JPEG and WebP."""
_HORIZONTAL, _FLOATING_POINT = 2, 3
_SHORT, _LONG, _UNDEFINED = "H", "I", "B"
Tags = dict[int, tuple[str, tuple[int, ...]]]
"""The type and the values of each tag, by its number."""
_TYPES = {"B": 7, "H": 3, "I": 4}


def needs_pillow(page: tifffile.TiffPage) -> bool:
    """Whether a page's segments are decoded here: because tifffile cannot, and this file can."""
    if importlib.util.find_spec("imagecodecs") is not None:
        return False
    compression, predictor = int(page.compression), int(page.predictor)
    if compression in _DEFLATE:
        return predictor == _FLOATING_POINT
    return compression in _OF_IMAGES or (compression in _OF_BYTES and predictor in (1, _HORIZONTAL, _FLOATING_POINT))


def decode_segment(page: tifffile.TiffPage, data: bytes, rows: int, width: int) -> np.ndarray:
    """Decode a strip or tile.

    Args:
        page: The page it belongs to; its samples are interleaved, or it has one.
        data: The compressed bytes.
        rows, width: Size of the strip or tile in pixels.

    Returns:
        Samples of the page's type in native byte order, [rows, width, samples].

    Raises:
        Exception: Whatever Pillow raises, if the data are damaged.
    """
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    if int(page.compression) in _OF_IMAGES:
        return _decode_image(page, data, rows, width, samples)
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    row_bytes = width * samples * dtype.itemsize
    tags: Tags = {258: (_SHORT, (8,)), 262: (_SHORT, (1,)), 266: (_SHORT, (int(page.fillorder),)), 277: (_SHORT, (1,))}
    decoded = _load(data, row_bytes, rows, int(page.compression), tags).reshape(rows, row_bytes)
    if page.predictor == _FLOATING_POINT:
        return _unpredicted_floats(decoded, width, samples, dtype)
    values = decoded.view(dtype).reshape(rows, width, samples).astype(dtype.newbyteorder("="))
    if page.predictor == _HORIZONTAL:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    return values


def _unpredicted_floats(decoded: np.ndarray, width: int, samples: int, dtype: np.dtype) -> np.ndarray:
    """Undo the predictor of floating-point samples: differences of bytes, most significant first (Adobe's technical note 3)."""
    rows = len(decoded)
    size = dtype.itemsize
    summed = np.cumsum(decoded.reshape(rows, width * size, samples), axis=1, dtype=np.uint8)
    planes = summed.reshape(rows, size, width * samples)
    big_endian = np.ascontiguousarray(planes.swapaxes(1, 2))
    return big_endian.view(dtype.newbyteorder(">")).reshape(rows, width, samples).astype(dtype.newbyteorder("="))


def _decode_image(page: tifffile.TiffPage, data: bytes, rows: int, width: int, samples: int) -> np.ndarray:
    tags: Tags = {
        258: (_SHORT, (8,) * samples),
        262: (_SHORT, (int(page.photometric) if samples > 1 else 1,)),
        277: (_SHORT, (samples,)),
    }
    if page.jpegtables:
        tags[347] = (_UNDEFINED, tuple(page.jpegtables))
    if page.photometric == 6 and samples == 3:
        tags[530] = (_SHORT, tuple(int(step) for step in page.subsampling or (2, 2)))
    return _load(data, width, rows, int(page.compression), tags).reshape(rows, width, samples)


def _load(data: bytes, width: int, rows: int, compression: int, tags: Tags) -> np.ndarray:
    """Decode a TIFF that consists of one strip."""
    import PIL.Image

    tags = {
        **tags,
        256: (_LONG, (width,)),
        257: (_LONG, (rows,)),
        259: (_SHORT, (compression,)),
        278: (_LONG, (rows,)),
        279: (_LONG, (len(data),)),
    }
    with PIL.Image.open(io.BytesIO(_tiff(data, tags)), formats=("TIFF",)) as image:
        return np.array(image)


def _tiff(data: bytes, tags: Tags) -> bytes:
    """A little-endian TIFF with one strip and the given tags."""
    strip = 8
    tags = {**tags, 273: (_LONG, (strip,))}
    directory = strip + len(data) + len(data) % 2
    beyond = directory + 2 + 12 * len(tags) + 4  # where values lie that are too long for the directory
    entries, values = [], b""
    for number, (form, given) in sorted(tags.items()):
        packed = struct.pack(f"<{len(given)}{form}", *given)
        if len(packed) > 4:
            place = struct.pack("<I", beyond + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", number, _TYPES[form], len(given)) + place)
    head = struct.pack("<2sHI", b"II", 42, directory)
    return b"".join((head, data, b"\0" * (len(data) % 2), struct.pack("<H", len(tags)), *entries, b"\0" * 4, values))
