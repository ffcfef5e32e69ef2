"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from nrc_tracer.errors import NrcError, OutputError


@contextlib.contextmanager
def replacing(path: Path, *, keep: bool = True, error: type[NrcError] = OutputError) -> Iterator[Path]:
    """Yield a temporary name beside `path`, renamed to `path` at the end; any failure leaves `path` as it was.

    What was written is on the disk before the name changes, so that not even a power cut leaves half a file. What a process
    that was killed left beside `path` is removed by the next one that writes there.

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
    _remove_left_overs(folder, path.name, os.getpid())
    temporary = folder / f"{_prefix(path.name)}{os.getpid()}-{secrets.token_hex(4)}.part"
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


def check_place(path: Path, *, error: type[NrcError] = OutputError) -> None:
    """Make sure, before long work, that `path` can be written; `error` if not."""
    if path.is_dir():
        raise error(f"{path}: cannot be written: it is a folder")
    if path.exists() and not os.access(path, os.W_OK):
        raise error(f"{path}: cannot be written: the file is write-protected")
    with replacing(path, keep=False, error=error) as temporary:
        temporary.touch()


def _prefix(target: str) -> str:
    """How temporary names of a target begin: they tell the target, and within which processes a process id is one process."""
    place = f"{target}/{_process_space()}".encode(errors="surrogateescape")
    return f".nrc-{hashlib.blake2b(place, digest_size=8).hexdigest()}-"


@lru_cache(maxsize=1)
def _process_space() -> str | None:
    """Machine since its start, and container on it: among their processes an id means one. None where that is not known."""
    try:
        if sys.platform == "linux":
            boot = Path("/proc/sys/kernel/random/boot_id").read_text()
            return f"{socket.gethostname()} {boot.strip()} {os.readlink('/proc/self/ns/pid')}"
        return socket.gethostname() if sys.platform == "darwin" else None
    except OSError:
        return None


@lru_cache(maxsize=64)
def _remove_left_overs(folder: Path, target: str, pid: int) -> None:
    """Remove temporary files of a target whose processes have ended, once a process: what is in doubt stays."""
    if _process_space() is None:
        return
    prefix = _prefix(target)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            owner, _, end = entry.name.removeprefix(prefix).partition("-")
            if not entry.name.startswith(prefix) or not end.endswith(".part") or not owner.isdecimal():
                continue
            if int(owner) != pid and not _is_alive(int(owner)) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_alive(pid: int) -> bool:
    """Whether there is, or may be, a process of that id. Not for Windows, where asking would end it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
