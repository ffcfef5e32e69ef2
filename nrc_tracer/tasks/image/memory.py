"""How much memory training may use, and how much it uses."""

from __future__ import annotations

import re
from pathlib import Path

from nrc_tracer.errors import DataError

SHARE = 0.5
"""Fraction of the free memory that is used by default."""
UNKNOWN = 4 * 2**30
"""Free memory assumed where the system does not report it, in bytes."""
LEAST = 640 * 2**20
"""Smallest memory budget in bytes: the libraries alone take most of it."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"([0-9]*\.?[0-9]+)\s*([KMGT]?)(I?B?)", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Parse a memory size such as `1GiB`, `800M` or `1.5GB` into bytes; units are powers of 1024 except KB, MB, GB and TB.

    Raises:
        DataError: The text is not a size, or the size is too small to train in.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise DataError(f'memory: "{text}" is not a size; write 1GiB, 800MB or a number of bytes')
    number, unit, ending = match.groups()
    if ending.upper() == "B" and unit:
        factor = 1000 ** "KMGT".index(unit.upper()) * 1000
    else:
        factor = _UNITS[unit.upper()]
    size = int(float(number) * factor)
    if size < LEAST:
        raise DataError(f"memory: {format_size(size)} is too little to train in; give at least {format_size(LEAST)}")
    return size


def default_memory() -> int:
    """Half of the free memory, in bytes."""
    from nrc_tracer.scene.memory import available_memory  # here, because it loads all of `scene`

    return max(LEAST, int(SHARE * (available_memory() or UNKNOWN)))


def format_size(size: float) -> str:
    """A size in bytes, in words: `1.3 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def resident_memory() -> dict[str, int]:
    """Resident memory of this process in bytes: `anonymous`, `file_backed` (which the system may drop at any time), and the
    `peak` of their sum; empty where the system does not report it."""
    names = {"RssAnon": "anonymous", "RssFile": "file_backed", "VmHWM": "peak"}
    found = {}
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name in names:
                found[names[name]] = 1024 * int(value.split()[0])
    except (OSError, ValueError, IndexError):
        return {}
    return found
