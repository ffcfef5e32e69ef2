"""Tokens that stay the same when a viewer is started again at its port, so that a page that is open finds it again.

A secret is kept in a file that only its user can read; the token of a port is derived from it. Without the file, or with one that
others can read, the token is random.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

FILE = "viewer-secret"
"""Name of the file, in the folder of compiled kernels."""

SECRET_BYTES = 32
"""Size of the secret [bytes]."""

LONGEST_AGE = 7 * 24 * 3600.0
"""Age after which the secret is replaced [s]: older links then no longer open the page."""


def secret_file() -> Path:
    """The file of the secret."""
    import warp as wp

    return Path(wp.config.kernel_cache_dir) / FILE


def token_of(host: str, port: int, file: Path, now: float | None = None) -> str:
    """The token of a viewer at a host and a port.

    Args:
        host: The host that it listens at.
        port: Its port.
        file: The file of the secret, which is made if it is missing or old.
        now: The time since the epoch [s].

    Returns:
        The same text for the same host, port and secret; a random one if the secret cannot be kept.
    """
    secret = _kept_secret(file, time.time() if now is None else now)
    if secret is None:
        secret = secrets.token_bytes(SECRET_BYTES)
    digest = hmac.digest(secret, f"{host}:{port}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:24]).decode()


def _kept_secret(file: Path, now: float) -> bytes | None:
    """The secret, which is made if it is missing or old; None if it cannot be kept for its user alone."""
    if os.name != "posix":  # permissions of files do not say who can read them
        return None
    try:
        with contextlib.suppress(FileNotFoundError):
            if not 0.0 <= now - file.lstat().st_mtime < LONGEST_AGE:
                file.unlink()
        with contextlib.suppress(FileExistsError):
            new = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(new, secrets.token_bytes(SECRET_BYTES))
            finally:
                os.close(new)
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            status = os.fstat(opened)
            if status.st_uid != os.getuid() or status.st_mode & 0o077:
                return None
            found = os.read(opened, SECRET_BYTES)
        finally:
            os.close(opened)
    except OSError:
        return None
    return found if len(found) == SECRET_BYTES else None
