"""An image whose pixels can be read at random, whatever its format: in memory, or mapped from a file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from nrc_tracer.tasks.image.memory import format_size

BAND_PIXELS = 2**18
"""Approximate number of pixels per band of `Source.bands`."""

ALPHA = "alpha is ignored: colours are used as they are stored"
"""Note of images with alpha."""
DTYPES = ("u1", "u2", "f2", "f4")
"""Sample types that are read in place, in either byte order."""


@dataclass(eq=False)
class Source:
    """Pixels in tiles of one size, perhaps padded at the right and bottom; the whole image may be a single tile.

    Attributes:
        name: File name, for messages.
        width, height: Size of the image in pixels.
        channels: Channels of the image, 1 or 3: the first ones of a stored pixel. Others, such as alpha, are ignored.
        stored_channels: Channels of a stored pixel.
        dtype: Sample type, in the buffer's byte order.
        buffer: uint8 [bytes], perhaps of a mapped file.
        offsets: Byte offset of each tile in the buffer, int64 [tiles down, tiles across].
        tile_width, tile_height: Size of a tile in pixels; its rows are stored one after the other.
        linear: Whether samples are linear light; otherwise they are sRGB.
        mapped: The mapping that holds the buffer, or None if it is in memory.
        scratch_bytes: Size of the scratch file that the image was decoded into; 0 if it is read in place.
        notes: Remarks for the user.
    """

    name: str
    width: int
    height: int
    channels: int
    stored_channels: int
    dtype: np.dtype
    buffer: np.ndarray
    offsets: np.ndarray
    tile_width: int
    tile_height: int
    linear: bool
    mapped: mmap.mmap | None = None
    scratch_bytes: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel in the buffer."""
        return self.stored_channels * self.dtype.itemsize

    @property
    def raw_bytes(self) -> int:
        """Bytes of the image's samples, without alpha and padding."""
        return self.pixels * self.channels * self.dtype.itemsize

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all tiles."""
        return self.offsets.size * self.tile_width * self.tile_height * self.pixel_bytes

    @property
    def kind(self) -> str:
        """The sample type in words, such as `8-bit sRGB`."""
        bits = f"{8 * self.dtype.itemsize}-bit"
        return f"{bits}{' float' if self.dtype.kind == 'f' else ''} {'linear' if self.linear else 'sRGB'}"

    @property
    def place(self) -> str:
        """Where the pixels are, in words."""
        if self.mapped is None:
            return "in memory"
        return f"scratch file of {format_size(self.scratch_bytes)}" if self.scratch_bytes else "read in place"

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """The samples of a rectangle inside the image, in native byte order, shape [height, width, channels]."""
        out = np.empty((height, width, self.channels), self.dtype.newbyteorder("="))
        row_bytes = self.tile_width * self.pixel_bytes
        for row in range(y // self.tile_height, (y + height - 1) // self.tile_height + 1):
            top, bottom = max(y, row * self.tile_height), min(y + height, (row + 1) * self.tile_height)
            for column in range(x // self.tile_width, (x + width - 1) // self.tile_width + 1):
                left, right = max(x, column * self.tile_width), min(x + width, (column + 1) * self.tile_width)
                first = int(self.offsets[row, column]) + (top - row * self.tile_height) * row_bytes
                rows = self.buffer[first : first + (bottom - top) * row_bytes].reshape(bottom - top, row_bytes)
                begin = (left - column * self.tile_width) * self.pixel_bytes
                part = np.ascontiguousarray(rows[:, begin : begin + (right - left) * self.pixel_bytes])
                samples = part.view(self.dtype).reshape(bottom - top, right - left, self.stored_channels)
                out[top - y : bottom - y, left - x : right - x] = samples[:, :, : self.channels]
        return out

    def at(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The samples of pixels inside the image, in native byte order.

        Args:
            columns, rows: Positions of the pixels, integers [N].

        Returns:
            Samples of shape [N, channels].
        """
        tile_x, x = np.divmod(columns.astype(np.int64), self.tile_width)
        tile_y, y = np.divmod(rows.astype(np.int64), self.tile_height)
        first = self.offsets[tile_y, tile_x] + (y * self.tile_width + x) * self.pixel_bytes
        count = self.channels * self.dtype.itemsize
        stored = np.empty((len(first), count), np.uint8)
        for byte in range(count):
            stored[:, byte] = self.buffer[first + byte]
        return stored.view(self.dtype).astype(self.dtype.newbyteorder("="))

    def bands(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all rows from the top, a few at a time: the first row's number and the samples [rows, width, channels]."""
        rows = max(1, BAND_PIXELS // self.width)
        if self.tile_width < self.width:  # whole rows of tiles
            rows = max(1, rows // self.tile_height) * self.tile_height
        for y in range(0, self.height, rows):
            yield y, self.read(0, y, self.width, min(rows, self.height - y))

    def read_ahead(self) -> None:
        """Ask the system to read a mapped file in order, before its pages are needed in random order."""
        self._advise("MADV_WILLNEED")

    def release(self) -> None:
        """Release the pages of a mapped file that have been read, which count as resident until then."""
        self._advise("MADV_DONTNEED")

    def _advise(self, advice: str) -> None:
        """Advise the system, where it supports that, how the pages of a mapped file will be used."""
        if self.mapped is not None and hasattr(self.mapped, "madvise") and hasattr(mmap, advice):
            self.mapped.madvise(getattr(mmap, advice))


def mapped_source(
    name: str,
    mapped: mmap.mmap,
    dtype: np.dtype,
    *,
    size: tuple[int, int],
    tile_size: tuple[int, int],
    offsets: np.ndarray,
    stored_channels: int,
    channels: int,
    notes: list[str],
    scratch_bytes: int = 0,
) -> Source:
    """A source of pixels in a mapped file; floating-point samples are linear light, integers are sRGB.

    Args:
        name, mapped, dtype: See `Source`.
        size: Width and height of the image in pixels.
        tile_size: Width and height of a tile in pixels.
        offsets, stored_channels, channels, scratch_bytes: See `Source`.
        notes: Remarks for the user; one is added if alpha is ignored.
    """
    return Source(
        name=name,
        width=size[0],
        height=size[1],
        channels=channels,
        stored_channels=stored_channels,
        dtype=dtype,
        buffer=np.frombuffer(mapped, np.uint8),
        offsets=offsets,
        tile_width=tile_size[0],
        tile_height=tile_size[1],
        linear=dtype.kind == "f",
        mapped=mapped,
        scratch_bytes=scratch_bytes,
        notes=[*notes, ALPHA] if stored_channels > channels else notes,
    )


def whole(
    name: str,
    pixels: np.ndarray,
    *,
    linear: bool,
    channels: int | None = None,
    notes: list[str] | None = None,
) -> Source:
    """A source of pixels in memory, shape [height, width, channels], whose first `channels` (1 or 3) are the image."""
    height, width, stored = pixels.shape
    buffer = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    return Source(
        name=name,
        width=width,
        height=height,
        channels=channels or (3 if stored >= 3 else 1),
        stored_channels=stored,
        dtype=pixels.dtype,
        buffer=buffer,
        offsets=np.zeros((1, 1), np.int64),
        tile_width=width,
        tile_height=height,
        linear=linear,
        notes=notes or [],
    )
