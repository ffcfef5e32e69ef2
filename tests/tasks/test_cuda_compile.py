"""The kernels of the tasks compile for CUDA on machines without a GPU."""

import importlib

import pytest

from nrc_tracer.tasks.nerf.fit import MODULES
from tests.cuda_binaries import ARCHITECTURES, compile_for_cuda

NAMES = (
    "nrc_tracer.tasks.image.kernels",
    "nrc_tracer.tasks.sdf.distance_kernels",
    "nrc_tracer.tasks.sdf.sampling_kernels",
    *MODULES,
)


@ARCHITECTURES
@pytest.mark.parametrize("name", NAMES)
def test_compiles_for_cuda(name, arch, tmp_path):
    """The machine code has all kernels of the module."""
    assert compile_for_cuda(importlib.import_module(name), arch, tmp_path).is_file()
