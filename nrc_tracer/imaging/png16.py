"""Colour PNG with 16 bits per sample, which Pillow would reduce to 8 bits.

Source: W3C, "Portable Network Graphics (PNG) Specification", sections 7 and 9.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 4: 2, 6: 4}


def is_png16(head: bytes) -> bool:
    """Return whether a file is a PNG of 16-bit colour (RGB, grey with alpha, RGBA), from its first 26 bytes."""
    return len(head) >= 26 and head.startswith(SIGNATURE) and head[24] == 16 and head[25] in _CHANNELS


def png_size(head: bytes) -> tuple[int, int]:
    """Return (height, width) of a PNG from its first 26 bytes."""
    width, height = struct.unpack_from(">II", head, 16)
    return height, width


def decode(data: bytes) -> np.ndarray:
    """Return the pixels of a PNG for which `is_png16` holds, shape [height, width, 2 | 3 | 4], uint16.

    Raises:
        ValueError: The file is damaged or interlaced.
        zlib.error: Its compressed data is damaged.
    """
    height, width = png_size(data)
    channels = _CHANNELS[data[25]]
    if data[28]:
        raise ValueError("interlaced 16-bit PNG is not supported")
    size = height * (1 + 2 * channels * width)
    inflate = zlib.decompressobj()
    packed = inflate.decompress(b"".join(_image_chunks(data)), size)
    if len(packed) != size:
        raise ValueError("it ends early")
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(height, -1)
    pixels = unfilter(rows[:, 0], rows[:, 1:].reshape(height, width, 2 * channels))
    return pixels.view(">u2").astype(np.uint16)


def encode(pixels: np.ndarray) -> bytes:
    """Return the bytes of a PNG, without row filters, for pixels of shape [height, width, 1 | 3 | 4], uint16."""
    height, width, channels = pixels.shape
    kind = {1: 0, 3: 2, 4: 6}[channels]
    rows = np.zeros((height, 1 + 2 * channels * width), np.uint8)
    rows[:, 1:] = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def unfilter(filters: np.ndarray, filtered: np.ndarray) -> np.ndarray:
    """Undo PNG's row filters.

    A pixel depends on those to its left, above and above left, so all pixels of an anti-diagonal are computed at once.

    Args:
        filters: The filter type of each row, shape [height], 0 to 4.
        filtered: Filtered bytes, shape [height, width, bytes per pixel], uint8.

    Returns:
        The bytes before filtering, same shape, uint8.
    """
    if filters.max(initial=0) > 4:
        raise ValueError("it names an unknown row filter")
    height, width, size = filtered.shape
    out = np.zeros((height + 1, width + 1, size), dtype=np.int16)
    for diagonal in range(height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        left, above, corner = out[y + 1, x], out[y, x + 1], out[y, x]
        estimate = left + above - corner
        to_left, to_above, to_corner = abs(estimate - left), abs(estimate - above), abs(estimate - corner)
        nearest_left = (to_left <= to_above) & (to_left <= to_corner)
        paeth = np.where(nearest_left, left, np.where(to_above <= to_corner, above, corner))
        prediction = np.choose(filters[y, None], (np.int16(0), left, above, (left + above) >> 1, paeth))
        out[y + 1, x + 1] = (filtered[y, x] + prediction) & 255
    return np.ascontiguousarray(out[1:, 1:]).astype(np.uint8)


def _image_chunks(data: bytes) -> list[bytes]:
    chunks = []
    offset = len(SIGNATURE)
    while offset + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        if kind == b"IDAT":
            chunks.append(data[offset + 8 : offset + 8 + length])
        if kind == b"IEND":
            break
        offset += 12 + length
    return chunks
