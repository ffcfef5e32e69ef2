"""The kernels of radiance fields compile for CUDA on machines without a GPU."""

import importlib

import pytest

from nrc_tracer.tasks.nerf.fit import MODULES
from tests.cuda_binaries import ARCHITECTURES, compile_for_cuda


@ARCHITECTURES
@pytest.mark.parametrize("name", MODULES)
def test_compiles_for_cuda(name, arch, tmp_path):
    """Machine code with all kernels of the module in it."""
    assert compile_for_cuda(importlib.import_module(name), arch, tmp_path).is_file()
