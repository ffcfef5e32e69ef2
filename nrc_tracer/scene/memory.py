"""How much memory a scene's geometry takes, estimated before any of it is made."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.instances import GeometrySize

RECORD_BYTES = 64
"""The record of a triangle that kernels read."""
VERTEX_BYTES = 24
"""Position and normal."""
TREE_BYTES = {"embree": 115, "warp": 140}
"""An acceleration structure, its own copy of the triangles included, per triangle; measured on meshes of 2 to 8 million."""
BUILD_TRIANGLE_BYTES, BUILD_VERTEX_BYTES = 140, 16
"""What making them takes on top for a while, on the host; measured likewise."""
PACKED_TEXEL_BYTES, FLOAT_TEXEL_BYTES, ENVIRONMENT_TEXEL_BYTES = 4, 12, 20
"""Textures of 8 bits a channel, of more, and environment maps with their tables."""
SHARE = 0.8
"""Of the free memory, geometry may take so much."""
LIMIT = "NRC_MEMORY_GB"
"""Environment variable that stands for the free memory [GB]."""
MAX_COUNT = 2**31 - 1
"""Kernels count in 32 bits."""


def geometry_bytes(size: GeometrySize, accel: str = "embree") -> int:
    """Bytes of the geometry on the device while rendering, the acceleration structure included."""
    return size.triangles * (RECORD_BYTES + TREE_BYTES[accel]) + size.vertices * VERTEX_BYTES


def building_bytes(size: GeometrySize, accel: str = "embree") -> int:
    """Bytes of host memory at most while the geometry is built for the CPU."""
    return geometry_bytes(size, accel) + size.triangles * BUILD_TRIANGLE_BYTES + size.vertices * BUILD_VERTEX_BYTES


def image_bytes(pixels: np.ndarray, *, texture: bool = True, environment: bool = False) -> int:
    """Bytes of an image on the device, as a texture, as an environment map with its sampling tables, or both."""
    per_texel = texture * (PACKED_TEXEL_BYTES if pixels.dtype == np.uint8 else FLOAT_TEXEL_BYTES)
    return pixels.shape[0] * pixels.shape[1] * (per_texel + environment * ENVIRONMENT_TEXEL_BYTES)


def available_memory() -> int | None:
    """Bytes this process may still take on the host: what the system, or its container, has free; None if unknown."""
    candidates = [_system_memory(), _container_memory()]
    return min((value for value in candidates if value is not None), default=None)


def check_memory(size: GeometrySize, accel: str, device: str = "cpu", device_free: int | None = None) -> None:
    """Refuse geometry that does not fit, before it is made.

    Args:
        size: How much there is.
        accel: What intersects triangles: `embree` or `warp`.
        device: For the message.
        device_free: Free bytes of the device if it is not the CPU.

    Raises:
        SceneError: With the estimate and what there is.
    """
    for count, name in ((size.triangles, "triangles"), (size.vertices, "vertices")):
        if count > MAX_COUNT:
            raise SceneError(f"the scene has {count:,} {name} after instancing, and at most {MAX_COUNT:,} are possible")
    given = os.environ.get(LIMIT)
    if given is not None:
        limit = _gigabytes(given)
        _check(size, building_bytes(size, accel), "cpu", limit)
        return
    _check(size, building_bytes(size, accel), "cpu", available_memory())
    if device != "cpu":
        _check(size, geometry_bytes(size, accel), device, device_free)


def _check(size: GeometrySize, needed: int, where: str, available: int | None) -> None:
    if available is not None and needed > SHARE * available:
        raise SceneError(
            f"the scene's {size.triangles:,} triangles ({size.unique_triangles:,} before instancing) need about "
            f"{needed / 1e9:.3g} GB of memory, and {where} has {available / 1e9:.3g} GB free (at most {SHARE:.0%} are used): "
            f"use fewer instances or simpler meshes, or set {LIMIT} to the GB there are if this is wrong"
        )


def _gigabytes(text: str) -> int:
    try:
        value = float(text)
        if not 0.0 < value < 1e9:
            raise ValueError
    except ValueError:
        raise SceneError(f'the environment variable {LIMIT} must be a number of gigabytes, not "{text}"') from None
    return int(value * 1e9)


def _system_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _container_memory() -> int | None:
    """What is left of a control group's limit, which containers and batch systems set; None if there is none."""
    folder = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            # Files that the group has read count as used, and are given back when needed
            return max(int((folder / limit).read_text()) - int((folder / used).read_text()) + _file_cache(folder), 0)
        except (OSError, ValueError):  # no such group, or its limit is "max"
            continue
    return None


def _file_cache(folder: Path) -> int:
    for name in ("memory.stat", "memory/memory.stat"):
        try:
            for line in (folder / name).read_text().splitlines():
                if line.startswith(("file ", "total_cache ")):
                    return int(line.split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return 0
