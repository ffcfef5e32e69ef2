"""The kernels of radiance fields compile for CUDA on machines without a GPU."""

import importlib

import pytest
import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.tasks.nerf.fit import MODULES


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("name", MODULES)
def test_compiles_for_cuda(name, arch, tmp_path):
    """Machine code for Ampere and Hopper, with all kernels of the module in it."""
    initialize()
    module = wp.get_module(importlib.import_module(name).__name__)
    wp.compile_aot_module(module, arch=[arch], module_dir=tmp_path, use_ptx=False)
    binaries = list(tmp_path.glob("*.cubin"))
    assert len(binaries) == 1
    code = binaries[0].read_bytes()
    assert code[:4] == b"\x7fELF"
    assert module.kernels
    for key in module.kernels:
        assert key.rpartition(".")[2].encode() in code
