"""The kernels of the neural encodings compile for CUDA on machines without a GPU."""

import pytest

from nrc_tracer.nn.encodings.frequency import frequency_kernels
from nrc_tracer.nn.encodings.grid_kernels import grid_kernels
from nrc_tracer.nn.encodings.identity import identity_kernels
from nrc_tracer.nn.encodings.one_blob import one_blob_kernels
from nrc_tracer.nn.encodings.spherical_harmonics import spherical_harmonics_kernels
from nrc_tracer.nn.encodings.triangle_wave import triangle_wave_kernels
from nrc_tracer.nn.optimizers import ema_kernels
from tests.cuda_binaries import ARCHITECTURES, compile_for_cuda

MODULES = {
    "one_blob": lambda: one_blob_kernels(4).forward.module,
    "frequency": lambda: frequency_kernels(12).forward.module,
    "triangle_wave": lambda: triangle_wave_kernels(12).forward.module,
    "identity": lambda: identity_kernels(1.0, 0.0).forward.module,
    "spherical_harmonics": lambda: spherical_harmonics_kernels(4).forward.module,
    "ema": lambda: ema_kernels.ema_dense.module,
}
GRIDS = {f"grid_{n_dims}d_{n_features}f": (n_dims, n_features) for n_dims in (2, 3, 4) for n_features in (1, 2, 4, 8)}
# The sixteen corners of a 4-D cell take the compiler long, so only one of these is compiled
LONG = ("grid_4d_1f", "grid_4d_4f", "grid_4d_8f")


@ARCHITECTURES
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in (*MODULES, *GRIDS)]
)
def test_compiles_for_cuda(name, arch, tmp_path):
    """The machine code contains all kernels of the module."""
    module = MODULES[name]() if name in MODULES else grid_kernels(*GRIDS[name]).forward.module
    assert compile_for_cuda(module, arch, tmp_path).is_file()
