"""Finding the device of a render: Warp must be able to use it, and torch too if there is a radiance cache."""

from __future__ import annotations

import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.device.selection import choose_device, find_device
from nrc_tracer.errors import DeviceError


def find_render_device(device: object = None, *, with_torch: bool = False) -> tuple[str, str | None]:
    """The Warp device that a name stands for, as `find_device` gives it, and why it is not the GPU, if torch is the reason.

    Args:
        device: The name; None for a GPU that everything in use supports, else the CPU.
        with_torch: Whether torch takes part.

    Raises:
        DeviceError: The name means no device, this machine does not have it, or torch takes part and cannot use it.
    """
    initialize()
    if not with_torch or choose_device(device, wp.get_cuda_device_count()) == "cpu":
        return find_device(device), None
    import torch

    if torch.cuda.is_available():
        return find_device(device), None
    why = "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no GPU"
    if device is not None:
        raise DeviceError(
            f'device "{device}": a radiance cache needs torch, and {why}; use "cpu", or render without a cache'
        )
    return "cpu", f"the GPU is not used: a radiance cache needs torch, and {why} (version {torch.__version__})"
