"""The folder for compiled kernels: Warp's own, or one for temporary files where that cannot be written."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import warnings
from pathlib import Path

import warp as wp


def choose_kernel_cache() -> None:
    """Give Warp a folder that can be written, before it starts. A folder that the user has chosen is left alone.

    Warp takes an empty XDG_CACHE_HOME for the current folder, and fails where the home folder cannot be written.

    Warns:
        RuntimeWarning: Kernels are compiled into a folder for temporary files.
    """
    if wp.config.kernel_cache_dir or os.environ.get("WARP_CACHE_PATH") or not sys.platform.startswith("linux"):
        return
    given = os.environ.get("XDG_CACHE_HOME")
    home = Path(os.path.expanduser("~")) / ".cache"
    folder = (Path(given) if given and os.path.isabs(given) else home) / "warp"
    if _is_writable(folder / str(wp.config.version)):
        if given is None or os.path.isabs(given):
            return  # Warp's own choice
    else:
        usual, folder = folder, _private(Path(tempfile.gettempdir()) / f"nrc-tracer-{os.getuid()}")
        warnings.warn(
            f"compiled kernels cannot be kept in {usual}; they are kept in {folder}. Set WARP_CACHE_PATH to another folder",
            RuntimeWarning,
            stacklevel=2,
        )
    wp.config.kernel_cache_dir = str(folder)  # to which Warp adds its version


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _private(folder: Path) -> Path:
    """The folder, if nobody else can write to it; else a new one. Compiled kernels are run, so others must not change them."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="nrc-tracer-"))
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if is_own else Path(tempfile.mkdtemp(prefix="nrc-tracer-"))
