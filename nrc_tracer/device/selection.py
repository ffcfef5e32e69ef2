"""Finding a Warp device by its name."""

from __future__ import annotations

import re

import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.device.screening import screened
from nrc_tracer.errors import DeviceError


def find_device(device: object = None) -> str:
    """The Warp device that a name stands for: `cpu` or `cuda:N`.

    Args:
        device: `cpu`, `cuda` for the first GPU, or `cuda:N`; None for the first GPU if there is one and the program's screening
            (`nrc_tracer.device.screening`) lets it pass, else the CPU.

    Raises:
        DeviceError: The name means no device, or this machine does not have it.
    """
    initialize()
    return screened(choose_device(device, wp.get_cuda_device_count()), by_name=device is not None)


def choose_device(device: object, gpus: int, *, current: int = 0) -> str:
    """`find_device` on a machine with `gpus` usable GPUs; a name without a number means the GPU `current`."""
    if device is None:
        return f"cuda:{current}" if gpus else "cpu"
    match = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", str(device))
    if match is None:
        raise DeviceError(f'device: "{device}" is not a device; use "cpu" or "cuda:0"')
    kind, number = match.groups()
    if kind == "cpu":
        return "cpu"
    index = current if number is None else int(number)
    if index >= gpus:
        found = f"{gpus} CUDA GPUs, counted from 0" if gpus else "no CUDA GPU that can be used"
        raise DeviceError(f'there is no device "{device}" here: this machine has {found}; use "cpu" to go without')
    return f"cuda:{index}"
