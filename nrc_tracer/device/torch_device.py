"""Finding a torch device by its name."""

from __future__ import annotations

import torch
import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.device.screening import screened
from nrc_tracer.device.selection import choose_device


def find_torch_device(device: object = None) -> torch.device:
    """`find_device` for work that torch takes part in: a GPU counts where both torch and Warp can use it.

    Args:
        device: `cpu`, `cuda` for torch's current GPU, or `cuda:N`, as a string or a `torch.device`; None for the current GPU if
            there is one, else the CPU.

    Raises:
        DeviceError: The name means no device, or this machine does not have it.
    """
    initialize()
    if not (torch.cuda.is_available() and wp.is_cuda_available()):
        return torch.device(choose_device(device, 0))
    found = choose_device(device, torch.cuda.device_count(), current=torch.cuda.current_device())
    return torch.device(screened(found, by_name=device is not None))
