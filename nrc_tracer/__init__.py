"""A path tracer on NVIDIA Warp for any CPU and any CUDA GPU.

    import nrc_tracer as nrc

    scene = nrc.load_scene("scenes/cornell-box.json")
    image = nrc.render(scene, spp=64)
    image.save("cornell-box.exr")

The names below are loaded when first used, so that `import nrc_tracer` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nrc_tracer.errors import CacheError, CheckpointError, DeviceError, NrcError, OutputError, SceneError, SceneWarning
from nrc_tracer.interruption import InterruptedWarning
from nrc_tracer.version import __version__

if TYPE_CHECKING:
    from nrc_tracer import tasks
    from nrc_tracer.cache import RadianceCache, VoxelCache
    from nrc_tracer.imaging import Image, read_image, rel_mse
    from nrc_tracer.live.viewing import view
    from nrc_tracer.scene.json_format import write_json
    from nrc_tracer.scene.load import load_scene
    from nrc_tracer.scene.model import Scene, SceneDescription
    from nrc_tracer.tracer import Renderer, render

__all__ = [
    "CacheError",
    "CheckpointError",
    "DeviceError",
    "Image",
    "InterruptedWarning",
    "NrcError",
    "OutputError",
    "RadianceCache",
    "Renderer",
    "Scene",
    "SceneDescription",
    "SceneError",
    "SceneWarning",
    "VoxelCache",
    "__version__",
    "load_scene",
    "read_image",
    "rel_mse",
    "render",
    "tasks",
    "view",
    "write_json",
]

_HOMES = {
    "Image": "nrc_tracer.imaging",
    "RadianceCache": "nrc_tracer.cache",
    "Renderer": "nrc_tracer.tracer",
    "Scene": "nrc_tracer.scene.model",
    "SceneDescription": "nrc_tracer.scene.model",
    "VoxelCache": "nrc_tracer.cache",
    "load_scene": "nrc_tracer.scene.load",
    "read_image": "nrc_tracer.imaging",
    "rel_mse": "nrc_tracer.imaging",
    "render": "nrc_tracer.tracer",
    "view": "nrc_tracer.live.viewing",
    "write_json": "nrc_tracer.scene.json_format",
}


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return importlib.import_module("nrc_tracer.tasks")
    if name not in _HOMES:
        raise AttributeError(f'module "{__name__}" has no attribute "{name}"')
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
