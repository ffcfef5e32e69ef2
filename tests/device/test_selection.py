"""The devices that names stand for, on machines with and without GPUs."""

from pathlib import Path

import pytest
import torch
import warp as wp

import nrc_tracer as nrc
from nrc_tracer.device.render_device import find_render_device
from nrc_tracer.device.selection import choose_device, find_device
from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import DeviceError

SCENES = Path(nrc.__file__).parent.parent / "scenes"


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


@pytest.fixture
def gpu_without_torch(monkeypatch):
    """A machine whose GPU Warp can use, with a torch that is built without CUDA."""
    monkeypatch.setattr(wp, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)


@pytest.mark.usefixtures("gpu_without_torch")
def test_a_gpu_that_torch_cannot_use():
    """Without a name, work with torch goes to the CPU, with the reason; by its name the GPU is refused with the reason."""
    assert find_render_device(None) == ("cuda:0", None)
    assert find_render_device("cpu", with_torch=True) == ("cpu", None)
    device, reason = find_render_device(None, with_torch=True)
    assert device == "cpu"
    assert "the GPU is not used: a radiance cache needs torch, and this torch is built without CUDA" in reason
    with pytest.raises(DeviceError, match=r'device "cuda:0": a radiance cache needs torch, .*use "cpu"'):
        find_render_device("cuda:0", with_torch=True)


@pytest.mark.usefixtures("gpu_without_torch")
def test_a_cached_render_without_a_gpu_for_torch():
    """The renderer and its cache choose the same device, and the renderer says why it is not the GPU."""
    scene = nrc.load_scene(SCENES / "cornell-box.json")
    renderer = nrc.Renderer(scene, width=8, height=8, cache=nrc.RadianceCache(), threads=2)
    assert renderer.device == "cpu"
    assert "the GPU is not used" in renderer.notice
    assert str(renderer.cache.model.device) == "cpu"
