"""Standard streams that may be closed, full, or unable to show a character: none of that costs a result."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from nrc_tracer.errors import OutputError


class _Descriptor(io.FileIO):
    """An open descriptor without a buffer: what it refuses is refused at once, and not again when the program ends."""

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        while len(rest):
            rest = rest[super().write(rest) or 0 :]
        return memoryview(data).nbytes


class _Messages(io.TextIOWrapper):
    """Standard error. What cannot be written is dropped."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


class _Results(io.TextIOWrapper):
    """Standard output. Raises `OutputError` if it cannot be written, except for a pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        with _named():
            return super().write(text)

    def flush(self) -> None:
        with _named():
            super().flush()


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise OutputError(f"standard output: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def steady_streams() -> Iterator[None]:
    """Put streams in place of the standard ones that survive whatever these are.

    A closed stream becomes the null device; so do the standard descriptors that are closed, or the next file that is opened would
    get their numbers, and messages of native code. Characters that an encoding lacks are written as escapes. Streams that
    somebody has replaced, such as a test, are left alone.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:
        sys.stdout = _steady(sys.stdout, _Results)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _steady(sys.stderr, _Messages)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _steady(stream: TextIO | None, kind: type[_Messages] | type[_Results]) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    try:
        descriptor = _Descriptor(stream.fileno(), "wb", closefd=False)
    except (OSError, ValueError):  # a stream without a descriptor, as in some IDEs
        return stream
    return kind(descriptor, encoding=stream.encoding, errors="backslashreplace", write_through=True)
