"""The kernels of the optimizers compile for CUDA on machines without a GPU."""

import pytest
import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.nn.optimizers.kernels import ADAM_DENSE, ADAM_LISTED
from nrc_tracer.nn.optimizers.optimizer import KERNELS


@pytest.mark.parametrize("arch", [80, 90])
def test_compiles_for_cuda(arch, tmp_path):
    """Machine code for Ampere and Hopper: what is said to CPUs only does not reach it."""
    initialize()
    module = wp.get_module(KERNELS)
    wp.compile_aot_module(module, arch=[arch], module_dir=tmp_path, use_ptx=False)
    (binary,) = tmp_path.glob("*.cubin")
    code = binary.read_bytes()
    assert code[:4] == b"\x7fELF"
    for name in ("ema_dense", "ema_listed", "ema_catch_up"):
        assert name.encode() in code
    # Of both types of moments
    both = {kernel.get_mangled_name() for kinds in (ADAM_DENSE, ADAM_LISTED) for kernel in kinds.values()}
    assert len(both) == 4
    assert all(name.encode() in code for name in both)
