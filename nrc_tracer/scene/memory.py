"""Estimates of the memory that a scene's geometry takes, before it is allocated."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.instances import GeometrySize

RECORD_BYTES = 64
"""Size of a triangle's record on the device."""
VERTEX_BYTES = 24
"""Size of a vertex on the device: position and normal."""
TREE_BYTES = {"embree": 115, "warp": 140}
"""Size of an acceleration structure per triangle, including its copy of the triangles; measured on 2 to 8 million triangles."""
BUILD_TRIANGLE_BYTES, BUILD_VERTEX_BYTES = 140, 16
"""Additional host memory during construction, per triangle and per vertex; measured in the same way."""
PACKED_TEXEL_BYTES, FLOAT_TEXEL_BYTES = 4, 12
"""Size of a texel of textures with 8 bits per channel, and of other textures and environment maps."""
DENSITY_TEXEL_BYTES, DENSITY_BYTES = 128, 8 * 2**20
"""Largest size of the tables by which an environment map is sampled: per texel, and of large maps in all."""
SHARE = 0.8
"""Fraction of the free memory that geometry may take."""
LIMIT = "NRC_MEMORY_GB"
"""Name of the environment variable that overrides the amount of free memory [GB]."""
MAX_COUNT = 2**31 - 1
"""Largest number of triangles or vertices. Kernels count in 32 bits."""


def geometry_bytes(size: GeometrySize, accel: str = "embree") -> int:
    """Return the size of the geometry on the device, including the acceleration structure [bytes]."""
    return size.triangles * (RECORD_BYTES + TREE_BYTES[accel]) + size.vertices * VERTEX_BYTES


def building_bytes(size: GeometrySize, accel: str = "embree") -> int:
    """Return the peak of host memory while the geometry is built for the CPU [bytes]."""
    return geometry_bytes(size, accel) + size.triangles * BUILD_TRIANGLE_BYTES + size.vertices * BUILD_VERTEX_BYTES


def image_bytes(pixels: np.ndarray, *, texture: bool = True, environment: bool = False) -> int:
    """Return the size of an image on the device [bytes]: as a texture, as an environment map, or both.

    For an environment map it is an upper bound: the size of its tables depends on how the luminance varies.
    """
    texels = pixels.shape[0] * pixels.shape[1]
    per_texel = texture * (PACKED_TEXEL_BYTES if pixels.dtype == np.uint8 else FLOAT_TEXEL_BYTES)
    density = min(texels * DENSITY_TEXEL_BYTES, DENSITY_BYTES)
    return texels * per_texel + environment * (texels * FLOAT_TEXEL_BYTES + density)


def available_memory() -> int | None:
    """Return the free memory of the system, or of its container if that has less [bytes]; None if unknown."""
    candidates = [_system_memory(), _container_memory()]
    return min((value for value in candidates if value is not None), default=None)


def check_memory(size: GeometrySize, accel: str, device: str = "cpu", device_free: int | None = None) -> None:
    """Refuse geometry that does not fit into memory, before it is allocated.

    Args:
        size: Amount of geometry.
        accel: Acceleration structure, `embree` or `warp`.
        device: Name of the device, for the message.
        device_free: Free memory of the device if it is not the CPU [bytes].

    Raises:
        SceneError: The geometry does not fit; the message has the estimate and the free memory.
    """
    for count, name in ((size.triangles, "triangles"), (size.vertices, "vertices")):
        if count > MAX_COUNT:
            raise SceneError(
                f"the scene has {count:,} {name} after instancing, and at most {MAX_COUNT:,} are supported"
            )
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
            f"use fewer instances or simpler meshes, or set {LIMIT} to the free memory in GB if this is wrong"
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
    """Return what is left of the memory limit of a container or batch job (its control group); None if there is no limit."""
    folder = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            # The cache of files counts as used, but is freed when needed
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
