"""How much memory a training may take, and how much it takes."""

from __future__ import annotations

import re
from pathlib import Path

from nrc_tracer.errors import DataError

SHARE = 0.5
"""Of the memory that is free, so much is used unless asked otherwise."""
UNKNOWN = 4 * 2**30
"""Taken for the free memory where the system does not tell."""
LEAST = 640 * 2**20
"""Less than this is refused: the libraries alone take most of it."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"([0-9]*\.?[0-9]+)\s*([KMGT]?)(I?B?)", re.IGNORECASE)


def read_size(text: str) -> int:
    """Bytes of a size such as `1GiB`, `800M`, `1.5GB` (units are powers of 1024 but for KB, MB, GB, TB). Raises `DataError`."""
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
        raise DataError(f"memory: {format_size(size)} are too few to train in; give at least {format_size(LEAST)}")
    return size


def default_memory() -> int:
    """Half of the memory that is free, in bytes."""
    from nrc_tracer.scene.memory import available_memory  # here, because it loads all of `scene`

    return max(LEAST, int(SHARE * (available_memory() or UNKNOWN)))


def format_size(size: float) -> str:
    """Bytes in words: `1.3 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def resident_memory() -> dict[str, int]:
    """Bytes of this process in memory now, `anonymous` and `file_backed` (which the system may drop at any time) apart, and its
    `peak` of both; empty where the system does not tell."""
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
