"""Reading files, with errors that a user can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from nrc_tracer.errors import NrcError


@contextlib.contextmanager
def reading(path: Path, error: type[NrcError]) -> Iterator[None]:
    """Turn the operating system's errors about `path` into errors of the class `error`, in one line that names the file."""
    try:
        yield
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or problem}") from problem
    except ValueError as problem:
        if "\0" not in str(path):
            raise
        raise error(f"{str(path)!r}: not a file name: {problem}") from problem
