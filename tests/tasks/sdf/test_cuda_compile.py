"""The kernels of signed distances compile for CUDA on machines without a GPU."""

import pytest
import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.tasks.sdf import distance_kernels, sampling_kernels

MODULES = {
    "distance": lambda: distance_kernels.signed_distance.module,
    "sampling": lambda: sampling_kernels.draw_batch.module,
}


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("name", MODULES)
def test_compiles_for_cuda(name, arch, tmp_path):
    """Machine code for Ampere and Hopper, with all kernels of the module in it."""
    initialize()
    module = MODULES[name]()
    wp.compile_aot_module(module, arch=[arch], module_dir=tmp_path, use_ptx=False)
    binaries = list(tmp_path.glob("*.cubin"))
    assert len(binaries) == 1
    code = binaries[0].read_bytes()
    assert code[:4] == b"\x7fELF"
    for key in module.kernels:
        assert key.rpartition(".")[2].encode() in code
