"""Compiles kernels to CUDA machine code, which also works on machines without a GPU."""

from pathlib import Path
from types import ModuleType

import pytest
import warp as wp

from nrc_tracer.device.launch import initialize

ARCHITECTURES = pytest.mark.parametrize("arch", [80, pytest.param(90, marks=pytest.mark.slow)])
"""Runs a test with `arch` for Ampere (sm_80), and among the slow tests also for Hopper (sm_90)."""


def compile_for_cuda(module: wp.Module | ModuleType, arch: int, folder: Path) -> Path:
    """Compile a module for one architecture; check that the binary contains all of its kernels, and return its path."""
    initialize()
    if isinstance(module, ModuleType):
        module = wp.get_module(module.__name__)
    wp.compile_aot_module(module, arch=[arch], module_dir=folder, use_ptx=False)
    (binary,) = folder.glob("*.cubin")
    code = binary.read_bytes()
    assert code[:4] == b"\x7fELF"
    assert module.kernels
    for key in module.kernels:
        assert key.rpartition(".")[2].encode() in code
    return binary
