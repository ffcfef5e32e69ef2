"""Adam's kernels compile for CUDA on machines without a GPU, for both types of moments."""

from nrc_tracer.nn.optimizers.adam_kernels import ADAM
from tests.cuda_binaries import ARCHITECTURES, compile_for_cuda


@ARCHITECTURES
def test_compiles_for_cuda(arch, tmp_path):
    """The machine code contains all kernels of the module, and code for CPUs does not reach it."""
    code = compile_for_cuda(ADAM["float32"].dense.module, arch, tmp_path).read_bytes()
    names = {kernel.get_mangled_name() for kinds in ADAM.values() for kernel in (kinds.dense, kinds.listed)}
    assert len(names) == 4
    assert all(name.encode() in code for name in names)
