"""The kernels of signed distances compile for CUDA on machines without a GPU."""

import pytest

from nrc_tracer.tasks.sdf import distance_kernels, sampling_kernels
from tests.cuda_binaries import ARCHITECTURES, compile_for_cuda

MODULES = {
    "distance": lambda: distance_kernels.signed_distance.module,
    "sampling": lambda: sampling_kernels.draw_batch.module,
}


@ARCHITECTURES
@pytest.mark.parametrize("name", MODULES)
def test_compiles_for_cuda(name, arch, tmp_path):
    """Machine code with all kernels of the module in it."""
    assert compile_for_cuda(MODULES[name](), arch, tmp_path).is_file()
