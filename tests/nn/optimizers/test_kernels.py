"""The kernels of Adam compile for CUDA on machines without a GPU, for both types of the moments."""

from nrc_tracer.nn.optimizers.adam_kernels import ADAM
from tests.cuda_binaries import ARCHITECTURES, compile_for_cuda


@ARCHITECTURES
def test_compiles_for_cuda(arch, tmp_path):
    """Machine code with all kernels of the module in it: what is said to CPUs only does not reach it."""
    code = compile_for_cuda(ADAM["float32"].dense.module, arch, tmp_path).read_bytes()
    names = {kernel.get_mangled_name() for kinds in ADAM.values() for kernel in (kinds.dense, kinds.listed)}
    assert len(names) == 4
    assert all(name.encode() in code for name in names)
