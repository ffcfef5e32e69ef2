"""Images that must be decoded in order, block of rows by block of rows: into memory where they fit, else into a scratch file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.image.memory import format_size
from nrc_tracer.tasks.image.scratch import Scratch
from nrc_tracer.tasks.image.source import Source, whole

MAX_SIDE = 2**24
"""Of an image [pixels]: coordinates are float32."""
IN_MEMORY = 64 * 2**20
"""Images of so few bytes are held in memory, larger ones if they take at most ..."""
MEMORY_SHARE = 0.25
"""... this share of what may be used."""


@dataclass
class Decoder:
    """What a format's reader gives: how large the image is, and its rows when they are asked for.

    Attributes:
        name: Of the file, for messages.
        width, height: In pixels.
        channels: Of the blocks; 1 and 3 without, 2 and 4 with alpha.
        dtype: Of a sample, in the machine's byte order.
        linear: Whether samples are linear light; else they are sRGB.
        blocks: Gives the rows from the top, [n, width, channels] at a time. It may raise anything on a damaged file.
        notes: What a user may want to know.
    """

    name: str
    width: int
    height: int
    channels: int
    dtype: np.dtype
    linear: bool
    blocks: Iterable[np.ndarray]
    notes: list[str] = field(default_factory=list)


def decode(decoder: Decoder, memory: int) -> Source:
    """Decode an image once, leaving alpha out.

    Args:
        decoder: The image.
        memory: Bytes that may be used.

    Raises:
        DataError: There is no room for it, or it is damaged.
    """
    channels = 3 if decoder.channels >= 3 else 1
    check_size(decoder.name, decoder.width, decoder.height)
    notes = list(decoder.notes)
    if decoder.channels != channels:
        notes.append(ALPHA)
    size = decoder.width * decoder.height * channels * decoder.dtype.itemsize
    blocks = (block[:, :, :channels] for block in decoder.blocks)
    if size <= max(IN_MEMORY, MEMORY_SHARE * memory):
        pixels = np.empty((decoder.height, decoder.width, channels), decoder.dtype)
        y = 0
        for block in blocks:
            pixels[y : y + len(block)] = block
            y += len(block)
        if y != decoder.height:
            raise DataError(f"{decoder.name}: not a readable image: {y} rows instead of {decoder.height}")
        return whole(decoder.name, pixels, linear=decoder.linear, notes=notes)
    scratch = Scratch(decoder.name, decoder.width, decoder.height, channels, decoder.dtype)
    notes.append(f"decoded into a scratch file of {format_size(scratch.size)} in {scratch.folder}, gone at the end")
    try:
        mapped = scratch.fill(blocks)
    finally:
        scratch.close()
    return Source(
        name=decoder.name,
        width=decoder.width,
        height=decoder.height,
        channels=channels,
        stored_channels=channels,
        dtype=decoder.dtype,
        buffer=np.frombuffer(mapped, np.uint8),
        offsets=np.zeros((1, 1), np.int64),
        tile_width=decoder.width,
        tile_height=decoder.height,
        linear=decoder.linear,
        mapped=mapped,
        scratch_bytes=scratch.size,
        notes=notes,
    )


ALPHA = "alpha is left out: colours are taken as they are stored"


def check_size(name: str, width: int, height: int) -> None:
    """Raise `DataError` for an image without pixels, or with sides that are no image's."""
    if width < 1 or height < 1:
        raise DataError(f"{name}: not a readable image: its size is {width} x {height}")
    if max(width, height) > MAX_SIDE:
        raise DataError(f"{name}: {width} x {height} pixels; a side may have {MAX_SIDE:,} at most")
