"""Radiance `.hdr` pictures: RGBE pixels, run-length encoded per scanline.

Source: Greg Ward, "Real Pixels", Graphics Gems II (1991), and the Radiance file format reference. As in Mitsuba,
stb_image and OpenCV, a mantissa m with exponent e means m * 2^(e - 136), and EXPOSURE lines are ignored.
"""

from __future__ import annotations

import re

import numpy as np

MAGIC = b"#?"
_HEADER_LIMIT = 65536
"""Largest accepted length of the header [bytes]."""
HEAD_BYTES = _HEADER_LIMIT + 128
"""Number of bytes at the beginning of a file that hold the size of its picture."""
_RESOLUTION = re.compile(rb"([-+])Y +(\d{1,9}) +([-+])X +(\d{1,9})\s*$")


def hdr_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) from a file's header. Raises ValueError if it is not a picture that this module reads."""
    return _read_header(data)[:2]


def decode(data: bytes) -> np.ndarray:
    """Return the pixels of a file, shape [height, width, 3], float32 linear. Raises ValueError with what is wrong."""
    height, width, flip_y, flip_x, offset = _read_header(data)
    rgbe = np.empty((height, width, 4), dtype=np.uint8)
    for y in range(height):
        if width in range(8, 32768) and data[offset : offset + 4] == bytes((2, 2, width >> 8, width & 255)):
            planes, offset = _decode_runs(data, offset + 4, 4 * width)
            rgbe[y] = np.frombuffer(planes, dtype=np.uint8).reshape(4, width).T
        else:
            row = data[offset : offset + 4 * width]
            if len(row) < 4 * width:
                raise ValueError(f"it ends early, in row {y} of {height}")
            rgbe[y] = np.frombuffer(row, dtype=np.uint8).reshape(width, 4)
            if np.any(np.all(rgbe[y, :, :3] == 1, axis=1)):
                raise ValueError("the run-length encoding of before 1991 is not supported")
            offset += 4 * width
    scale = np.where(rgbe[..., 3] > 0, np.ldexp(np.float32(1), rgbe[..., 3].astype(np.int32) - 136), np.float32(0))
    rgb = rgbe[..., :3] * scale[..., None].astype(np.float32)
    return np.ascontiguousarray(rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def encode(rgb: np.ndarray) -> bytes:
    """Return a file's bytes for linear `rgb`, shape [height, width, 3]. Negative and non-finite values become 0."""
    height, width, _ = rgb.shape
    rgb = np.where(np.isfinite(rgb) & (rgb > 0), rgb, 0).astype(np.float64)
    _, exponent = np.frexp(rgb.max(axis=2))
    exponent = np.clip(exponent, -127, 127)
    mantissa = np.clip(np.ldexp(rgb, 8 - exponent[..., None]), 0, 255)
    rgbe = np.concatenate([mantissa, exponent[..., None] + 128], axis=2).astype(np.uint8)
    rgbe[~np.any(rgbe[..., :3], axis=2)] = 0
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode()
    if not 8 <= width < 32768:
        return header + rgbe.tobytes()
    # Literal runs only: no smaller than flat pixels, but no pixel can be mistaken for the start of a run
    parts = [header]
    for row in rgbe:
        parts.append(bytes((2, 2, width >> 8, width & 255)))
        for channel in row.T:
            literal = channel.tobytes()
            for start in range(0, width, 128):
                piece = literal[start : start + 128]
                parts += (bytes((len(piece),)), piece)
    return b"".join(parts)


def _read_header(data: bytes) -> tuple[int, int, bool, bool, int]:
    """Return height, width, whether rows and columns are in reverse order, and the offset of the pixels."""
    end = data.find(b"\n\n", 0, _HEADER_LIMIT)
    if not data.startswith(MAGIC) or end < 0:
        raise ValueError("it has no Radiance header")
    for line in data[:end].split(b"\n"):
        if line.startswith(b"FORMAT=") and line.strip() != b"FORMAT=32-bit_rle_rgbe":
            raise ValueError(f"its pixel format {line[7:60].decode('latin-1')} is not supported (only 32-bit_rle_rgbe)")
    stop = data.find(b"\n", end + 2, end + 2 + 100)
    match = _RESOLUTION.match(data[end + 2 : stop]) if stop >= 0 else None
    if match is None:
        raise ValueError("its resolution line is not of the form -Y height +X width")
    return int(match[2]), int(match[4]), match[1] == b"+", match[3] == b"-", stop + 1


def _decode_runs(data: bytes, offset: int, size: int) -> tuple[bytearray, int]:
    """Unpack the `size` bytes of one scanline (four planes); return them and the offset of the next scanline."""
    row = bytearray()
    while len(row) < size:
        if offset + 1 >= len(data):
            raise ValueError("it ends early")
        count = data[offset]
        if count > 128:
            row += data[offset + 1 : offset + 2] * (count - 128)
            offset += 2
        elif count > 0:
            row += data[offset + 1 : offset + 1 + count]
            offset += 1 + count
        else:
            raise ValueError("it contains a run of length 0")
    if len(row) != size or offset > len(data):
        raise ValueError("its run lengths do not add up to the width")
    return row, offset
