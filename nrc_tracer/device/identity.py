"""What a device is called, and which driver runs it."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

import warp as wp

_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class DeviceIdentity:
    """A device.

    Attributes:
        name: The device's name.
        arch: Compute capability times ten, such as 90; 0 for the CPU, and for a GPU that cannot be asked.
        driver: Versions of the GPU's driver and of the CUDA that it supports; empty for the CPU.
    """

    name: str
    arch: int = 0
    driver: str = ""

    def __str__(self) -> str:
        return (
            self.name + (f", sm_{self.arch}" if self.arch else "") + (f", driver {self.driver}" if self.driver else "")
        )


def identify(device: str) -> DeviceIdentity:
    """The identity of `cpu` or `cuda:N`. A GPU that cannot be asked is an unknown one. Warp must have been initialized."""
    if device == "cpu":
        return DeviceIdentity(cpu_name())
    try:
        found = wp.get_device(device)
        return DeviceIdentity(found.name, int(found.arch), driver_version())
    except (RuntimeError, ValueError):
        return DeviceIdentity("unknown GPU", driver=driver_version())


def driver_version() -> str:
    """Version of the NVIDIA driver, where the system tells it, and the CUDA that it supports; `none` without a driver."""
    cuda = wp.get_cuda_driver_version()
    if cuda is None:
        return "none"
    supports = f"CUDA {cuda[0]}.{cuda[1]}"
    try:
        version = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", _DRIVER.read_text())
    except OSError:
        version = None
    return supports if version is None else f"{version.group(1)} ({supports})"


def cpu_name() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
