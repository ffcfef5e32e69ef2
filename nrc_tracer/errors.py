"""Errors that a user can cause, and the warning about scenes. Each message says in a line or two what, where, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class NrcError(Exception):
    """Base of all errors this package raises on purpose. Shown without a traceback on the command line."""


class SceneError(NrcError):
    """A scene, mesh or image file that is missing, malformed or asks for something impossible."""


class SceneWarning(UserWarning):
    """Something a scene file asks for that is not supported. The message says what was done instead."""


class DataError(NrcError):
    """Data to learn from (an image, a mesh, photographs) that is missing, malformed or asks for something impossible."""


class ConfigError(NrcError):
    """A model configuration that cannot be read, or asks for something unknown or impossible."""


class DeviceError(NrcError):
    """A device, or an acceleration structure on it, that is not available."""


class OutputError(NrcError):
    """A file, such as an image, that cannot be written."""


class SnapshotError(NrcError):
    """A snapshot file that is missing, malformed or of another model, or cannot be written."""


class CacheError(NrcError):
    """A radiance cache that cannot be made, loaded or saved as requested."""


class CheckpointError(NrcError):
    """The file of an unfinished render that is missing, damaged or of another render, or cannot be written."""


class ClusterError(NrcError):
    """A cluster that cannot be reached, has no fitting node, or on which a part of the work fails again and again."""


_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|out of memory|failed to allocate|no room|not enough memory", re.IGNORECASE
)
"""What messages about memory say: torch, Warp and CUDA have no exception class for it that all of them use."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of whatever package, says that memory could not be allocated."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(one_line(error)) is not None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: `` (did you mean "x"?)`` for the nearest known name, or the list of all known names."""
    known = sorted(filter(None, known))
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if match:
        return f' (did you mean "{match[0]}"?)'
    return f" (known: {', '.join(known)})" if known else ""


def one_line(error: BaseException) -> str:
    """Return an exception's message on one line, or the name of its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
