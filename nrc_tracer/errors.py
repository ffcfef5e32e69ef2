"""What a user can cause to go wrong: one family of exceptions, each message a line or two: what, where, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NrcError(Exception):
    """Base of all errors this package raises on purpose. Shown without a traceback on the command line."""


class SceneError(NrcError):
    """A scene, mesh or image file that is missing, malformed or asks for something impossible."""


class DataError(NrcError):
    """An image, a mesh or a set of photographs to learn from that is missing, malformed or asks for something impossible."""


class ConfigError(NrcError):
    """A model configuration that cannot be read, or that asks for something unknown or impossible."""


class DeviceError(NrcError):
    """A device, or an acceleration structure on it, that cannot be had."""


class OutputError(NrcError):
    """A file, such as an image, that cannot be written."""


class SnapshotError(NrcError):
    """A file of saved parameters that is missing, malformed or of another model, or that cannot be written."""


class CacheError(NrcError):
    """A radiance cache cannot be made, loaded or saved as asked."""


class CheckpointError(NrcError):
    """A file of an unfinished render that is missing, damaged or of another render, or that cannot be written."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean "x"?)`` for the nearest known name, else the list of what is known, as the end of a message."""
    known = sorted(known)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if match:
        return f' (did you mean "{match[0]}"?)'
    return f" (known: {', '.join(known)})" if known else ""


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks, its type where it has none: for libraries that speak in paragraphs."""
    return " ".join(str(error).split()) or type(error).__name__
