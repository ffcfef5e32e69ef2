"""64-bit digests, from which the tasks seed their random numbers."""

from __future__ import annotations

import hashlib


def digest64(data: bytes) -> int:
    """A 64-bit digest of some bytes (BLAKE2b, read as little-endian)."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
