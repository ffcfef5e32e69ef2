"""The devices that names stand for, on machines with and without GPUs."""

import pytest
import torch

from nrc_tracer.device.selection import choose_device, find_device
from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import DeviceError


@pytest.mark.parametrize(
    ("name", "gpus", "current", "expected"),
    [
        (None, 0, 0, "cpu"),
        (None, 1, 0, "cuda:0"),
        (None, 4, 2, "cuda:2"),
        ("cpu", 4, 0, "cpu"),
        ("cpu:0", 0, 0, "cpu"),
        ("cuda", 4, 3, "cuda:3"),
        ("cuda:1", 2, 0, "cuda:1"),
        (torch.device("cuda", 1), 2, 0, "cuda:1"),
        (torch.device("cpu"), 2, 0, "cpu"),
    ],
)
def test_names(name, gpus, current, expected):
    """A GPU is the default, a number is kept, and a name without a number means the current GPU."""
    assert choose_device(name, gpus, current=current) == expected


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("cuda", 0, 'no device "cuda" here: this machine has no CUDA GPU'),
        ("cuda:2", 2, "has 2 CUDA GPUs, counted from 0"),
        ("gpu", 2, '"gpu" is not a device; use "cpu" or "cuda:0"'),
        ("cuda:-1", 2, "is not a device"),
        ("CPU", 0, "is not a device"),
        (3.5, 1, "is not a device"),
    ],
)
def test_missing_devices_are_refused(name, gpus, message):
    """The message names the device and what to use instead."""
    with pytest.raises(DeviceError, match=message):
        choose_device(name, gpus)


def test_torch_and_warp_agree():
    """With and without a name, both libraries find the same device."""
    assert str(find_torch_device("cpu")) == find_device("cpu") == "cpu"
    assert find_torch_device().type == find_device().partition(":")[0]
