"""The kernels of Adam compile for CUDA on machines without a GPU, for both types of the moments."""

import pytest
import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.nn.optimizers.adam_kernels import ADAM


@pytest.mark.parametrize("arch", [80, 90])
def test_compiles_for_cuda(arch, tmp_path):
    """Machine code for Ampere and Hopper: what is said to CPUs only does not reach it."""
    initialize()
    module = ADAM["float32"].dense.module
    wp.compile_aot_module(module, arch=[arch], module_dir=tmp_path, use_ptx=False)
    (binary,) = tmp_path.glob("*.cubin")
    code = binary.read_bytes()
    assert code[:4] == b"\x7fELF"
    names = {kernel.get_mangled_name() for kinds in ADAM.values() for kernel in (kinds.dense, kinds.listed)}
    assert len(names) == 4
    assert all(name.encode() in code for name in names)
