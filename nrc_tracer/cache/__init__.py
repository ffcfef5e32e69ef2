"""The radiance cache: its network and training, where paths end in it, and frames that are rendered with it.

It knows nothing of scenes: the tracer implements `nrc_tracer.cache.path_source.PathSource`, which traces paths for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrc_tracer.cache.cache import RadianceCache
    from nrc_tracer.cache.options import CacheOptions
    from nrc_tracer.cache.voxel_cache import VoxelCache, VoxelOptions

__all__ = ["CacheOptions", "RadianceCache", "VoxelCache", "VoxelOptions"]

_HOMES = {
    "CacheOptions": "options",
    "RadianceCache": "cache",
    "VoxelCache": "voxel_cache",
    "VoxelOptions": "voxel_cache",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module "{__name__}" has no attribute "{name}"')
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
