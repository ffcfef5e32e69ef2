"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from nrc_tracer.errors import NrcError, OutputError


@contextlib.contextmanager
def replacing(path: Path, *, keep: bool = True, error: type[NrcError] = OutputError) -> Iterator[Path]:
    """Yield a temporary name beside `path`, renamed to `path` at the end; any failure leaves `path` as it was.

    What was written is on the disk before the name changes, so that not even a power cut leaves half a file.

    Args:
        path: The file to write.
        keep: False to try out the place only: nothing is renamed.
        error: What an `OSError` becomes, in one line.

    Raises:
        NrcError: Of the class `error`: the place cannot be written to.
    """
    folder = path.parent
    if "\0" in str(path):
        raise error(f"{str(path)!r}: cannot be written: a file name has no null characters")
    if not folder.is_dir():
        raise error(f'{path}: cannot be written: there is no folder "{folder}"')
    temporary = folder / f".nrc-{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        yield temporary
        if keep:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as problem:
        raise error(f"{path}: cannot be written: {problem.strerror or problem}") from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
