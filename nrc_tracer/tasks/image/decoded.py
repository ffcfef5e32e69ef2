"""Images that must be decoded in order, a block of rows at a time: into memory if they fit, otherwise into a scratch file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.imaging.orientation import UPRIGHT, stored, swaps_sides
from nrc_tracer.tasks.image.memory import format_size
from nrc_tracer.tasks.image.scratch import Scratch
from nrc_tracer.tasks.image.source import ALPHA, Source, mapped_source, whole

MAX_SIDE = 2**24
"""Longest side of an image in pixels: coordinates are float32."""
IN_MEMORY = 64 * 2**20
"""Images of at most this many bytes are always held in memory."""
MEMORY_SHARE = 0.25
"""Larger images are held in memory if they take at most this fraction of the memory budget."""


@dataclass
class Decoder:
    """An image whose rows are decoded on demand.

    Attributes:
        name: File name, for messages.
        width, height: Size in pixels.
        channels: Channels of the blocks: 1 or 3 without alpha, 2 or 4 with alpha.
        dtype: Sample type, in native byte order: floating-point samples are linear light, integers are sRGB.
        blocks: Yields rows from the top, [n, width, channels] at a time. It may raise any exception on a damaged file.
        notes: Remarks for the user.
        orientation: EXIF orientation in which the decoded pixels are to be shown, 1 to 8.
    """

    name: str
    width: int
    height: int
    channels: int
    dtype: np.dtype
    blocks: Iterable[np.ndarray]
    notes: list[str] = field(default_factory=list)
    orientation: int = UPRIGHT


def decode(decoder: Decoder, memory: int) -> Source:
    """Decode an image once, dropping alpha and applying its orientation.

    Args:
        decoder: The image.
        memory: Memory budget in bytes.

    Raises:
        DataError: The image does not fit, or it is damaged.
    """
    channels = 3 if decoder.channels >= 3 else 1
    check_size(decoder.name, decoder.width, decoder.height)
    notes = list(decoder.notes)
    if decoder.channels != channels:
        notes.append(ALPHA)
    width, height = decoder.width, decoder.height
    if swaps_sides(decoder.orientation):
        width, height = height, width
    if decoder.orientation != UPRIGHT:
        notes.append("its EXIF orientation is applied")
    byte_count = decoder.width * decoder.height * channels * decoder.dtype.itemsize
    blocks = (block[:, :, :channels] for block in decoder.blocks)
    if byte_count <= max(IN_MEMORY, MEMORY_SHARE * memory):
        pixels = np.empty((height, width, channels), decoder.dtype)
        into = stored(pixels, decoder.orientation)
        y = 0
        for block in blocks:
            into[y : y + len(block)] = block
            y += len(block)
        if y != decoder.height:
            raise DataError(f"{decoder.name}: not a readable image: {y} rows instead of {decoder.height}")
        return whole(decoder.name, pixels, linear=decoder.dtype.kind == "f", notes=notes)
    scratch = Scratch(decoder.name, width, height, channels, decoder.dtype)
    notes.append(
        f"decoded into a scratch file of {format_size(scratch.size)} in {scratch.folder}, which is removed at the end"
    )
    try:
        if decoder.orientation == UPRIGHT:
            mapped = scratch.fill(blocks)
        else:
            mapped = scratch.fill_turned(blocks, decoder.orientation)
    finally:
        scratch.close()
    size = (width, height)
    return mapped_source(
        decoder.name,
        mapped,
        decoder.dtype,
        size=size,
        tile_size=size,
        offsets=np.zeros((1, 1), np.int64),
        stored_channels=channels,
        channels=channels,
        notes=notes,
        scratch_bytes=scratch.size,
    )


def check_size(name: str, width: int, height: int) -> None:
    """Raise `DataError` for an image without pixels, or with a side that is too long."""
    if width < 1 or height < 1:
        raise DataError(f"{name}: not a readable image: its size is {width} x {height}")
    if max(width, height) > MAX_SIDE:
        raise DataError(f"{name}: {width} x {height} pixels; a side may have at most {MAX_SIDE:,}")
