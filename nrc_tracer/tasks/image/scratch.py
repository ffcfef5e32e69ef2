"""A temporary file for the pixels of an image that cannot be read at random: decoded once, in order, then mapped into memory."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.imaging.orientation import stored
from nrc_tracer.tasks.image.memory import format_size

SPARE = 64 * 2**20
"""Bytes that a scratch file must leave free on the disk."""


class Scratch:
    """An unnamed file in the system's folder for temporary files (TMPDIR), which holds an image row by row.

    The system removes it when the process ends, however it ends.

    Args:
        name: Name of the image, for messages.
        width, height, channels: Size of the image.
        dtype: Sample type.

    Attributes:
        size: Size in bytes.
        folder: The folder it is in.

    Raises:
        DataError: The folder cannot be written to or is full.
    """

    def __init__(self, name: str, width: int, height: int, channels: int, dtype: np.dtype) -> None:
        self.name = name
        self._shape, self._dtype = (height, width, channels), dtype
        self.size = width * channels * dtype.itemsize * height
        self.folder = tempfile.gettempdir()
        free = shutil.disk_usage(self.folder).free
        if self.size + SPARE > free:
            raise DataError(
                f"{name}: its pixels take {format_size(self.size)} in a scratch file, but {self.folder} has only "
                f"{format_size(free)} free; set TMPDIR to a folder with more room"
            )
        try:
            self._file: BinaryIO = tempfile.TemporaryFile(prefix="nrc-scratch-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise DataError(
                f"{name}: cannot make a scratch file in {self.folder}: {error.strerror or error}"
            ) from error

    def fill(self, blocks: Iterable[np.ndarray]) -> mmap.mmap:
        """Write blocks of rows [n, width, channels] in order, and map the file.

        Raises:
            DataError: There are too few or too many rows, or the disk is full.
        """
        written = 0
        try:
            for block in blocks:
                data = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
                written += len(data)
                while len(data):
                    data = data[self._file.write(data) :]
        except OSError as error:
            raise DataError(f"{self.name}: its scratch file cannot be written: {error.strerror or error}") from error
        if written != self.size:
            raise DataError(f"{self.name}: not a readable image: {written} bytes of pixels instead of {self.size}")
        self._file.flush()
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def fill_turned(self, blocks: Iterable[np.ndarray], orientation: int) -> mmap.mmap:
        """Write blocks of rows of an image that is shown in another EXIF orientation, in order, and map the file.

        Raises:
            DataError: There are too few or too many rows, or the disk is full.
        """
        try:
            self._file.truncate(self.size)
            # Allocate the blocks of the disk now: a full disk would end the process later, when a page is written back
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, self.size)
        except OSError as error:
            raise DataError(f"{self.name}: its scratch file cannot be written: {error.strerror or error}") from error
        with mmap.mmap(self._file.fileno(), 0) as mapped:
            pixels = np.frombuffer(mapped, self._dtype).reshape(self._shape)
            into = stored(pixels, orientation)
            y = 0
            for block in blocks:
                rows = len(into[y : y + len(block)])
                into[y : y + rows] = block[:rows]
                y += len(block)
            height = len(into)
            del pixels, into
        if y != height:
            raise DataError(f"{self.name}: not a readable image: {y} rows instead of {height}")
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Remove the file; its mapping stays valid."""
        self._file.close()


def map_file(path: str | os.PathLike[str]) -> mmap.mmap:
    """Map a file for reading."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
