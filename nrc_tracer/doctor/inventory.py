"""What is installed and what it runs on: versions, devices, drivers, memory, Embree, optional packages."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch
import warp as wp

from nrc_tracer.device.identity import driver_version, identify
from nrc_tracer.device.launch import default_threads, initialize
from nrc_tracer.doctor.packages import optional_packages, package_version
from nrc_tracer.errors import DeviceError
from nrc_tracer.scene.memory import available_memory
from nrc_tracer.tracer.accel import embree
from nrc_tracer.version import __version__

PACKAGES = ("warp-lang", "torch", "numpy", "embreex", "msgspec", "OpenEXR", "Pillow", "safetensors")
"""Required packages whose versions are listed."""


def take_inventory() -> dict[str, Any]:
    """Everything, as JSON data; sizes in bytes.

    * `versions`: of this package, Python, the operating system and required packages;
    * `cpu`, `gpus`: name, cores or compute capability, free and total memory;
    * `cuda`: versions of the driver, of Warp's CUDA and of torch's;
    * `embree`: whether kernels can call it, and the reason if not;
    * `kernel_cache`: Warp's folder of compiled kernels, and whether it can be written to;
    * `optional`: for each extra, its packages with their versions, None for those that are not installed.
    """
    initialize()
    return {
        "versions": versions(),
        "cpu": {"name": identify("cpu").name, "cores": default_threads(), "memory_free": available_memory()},
        "gpus": gpus(),
        "cuda": {
            "driver": driver_version(),
            "warp": _dotted(wp.get_cuda_toolkit_version()),
            "torch": torch.version.cuda,
        },
        "embree": embree_state(),
        "kernel_cache": kernel_cache(),
        "optional": optional_packages(),
    }


def versions() -> dict[str, str | None]:
    """Versions of this package, Python, the operating system and required packages."""
    return {
        "nrc-tracer": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{name: package_version(name) for name in PACKAGES},
    }


def gpus() -> list[dict[str, Any]]:
    """The GPUs that Warp finds, and whether torch can use them."""
    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = []
    for index, device in enumerate(wp.get_cuda_devices()):
        identity = identify(device.alias)
        found.append(
            {
                "device": device.alias,
                "name": identity.name,
                "arch": identity.arch,
                "memory_free": int(device.free_memory),
                "memory_total": int(device.total_memory),
                "torch": index < usable,
            }
        )
    return found


def embree_state() -> dict[str, Any]:
    """Whether kernels on the CPU can call Embree, and the reason if not."""
    try:
        embree.load()
    except DeviceError as error:
        return {"available": False, "reason": str(error)}
    return {"available": True, "reason": ""}


def kernel_cache() -> dict[str, Any]:
    """Warp's folder of compiled kernels, and whether it can be written to."""
    folder = Path(wp.config.kernel_cache_dir)
    return {"folder": str(folder), "writable": folder.is_dir() and os.access(folder, os.W_OK)}


def _dotted(version: tuple[int, int] | None) -> str | None:
    return None if version is None else ".".join(map(str, version))
