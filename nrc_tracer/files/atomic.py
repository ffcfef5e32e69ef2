"""Files that are replaced as a whole or not at all, even if the process is killed."""

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
    """Yield a temporary name beside `path` that is renamed to `path` at the end; any failure leaves `path` as it was.

    The contents are on the disk before the name changes, so not even a power cut leaves half a file. Temporary files of a
    process that was killed are removed by the next process that writes the same file.

    Args:
        path: The file to write.
        keep: False to check only whether the place can be written to: nothing is renamed.
        error: The exception class that an `OSError` is turned into.

    Raises:
        NrcError: An `error`: the place cannot be written to.
    """
    folder = path.parent
    if "\0" in str(path):
        raise error(f"{str(path)!r}: cannot be written: a file name has no null characters")
    if not folder.is_dir():
        raise error(f'{path}: cannot be written: there is no folder "{folder}"')
    _remove_leftovers(folder, path.name, os.getpid())
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
    """Check before long work that `path` can be written to. Raises an `error` if it cannot."""
    if path.is_dir():
        raise error(f"{path}: cannot be written: it is a folder")
    if path.exists() and not os.access(path, os.W_OK):
        raise error(f"{path}: cannot be written: the file is write-protected")
    with replacing(path, keep=False, error=error) as temporary:
        temporary.touch()


def _prefix(target: str) -> str:
    """Prefix of a target's temporary names: it identifies the target and the space in which process ids are unique."""
    place = f"{target}/{_process_space()}".encode(errors="surrogateescape")
    return f".nrc-{hashlib.blake2b(place, digest_size=8).hexdigest()}-"


@lru_cache(maxsize=1)
def _process_space() -> str | None:
    """The space in which process ids are unique: this boot of the machine, and the container. None if it is unknown."""
    try:
        if sys.platform == "linux":
            boot = Path("/proc/sys/kernel/random/boot_id").read_text()
            return f"{socket.gethostname()} {boot.strip()} {os.readlink('/proc/self/ns/pid')}"
        return socket.gethostname() if sys.platform == "darwin" else None
    except OSError:
        return None


@lru_cache(maxsize=64)
def _remove_leftovers(folder: Path, target: str, pid: int) -> None:
    """Remove the temporary files of a target whose processes have ended, once per process. Files in doubt stay."""
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
    """Whether a process with that id exists or may exist. Not for Windows, where asking would kill it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
