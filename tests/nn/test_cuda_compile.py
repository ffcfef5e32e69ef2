"""The kernels of the neural encodings compile for CUDA on machines without a GPU."""

import pytest
import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.nn.encodings.frequency import frequency_kernels
from nrc_tracer.nn.encodings.grid_kernels import grid_kernels
from nrc_tracer.nn.encodings.identity import identity_kernels
from nrc_tracer.nn.encodings.one_blob import one_blob_kernels
from nrc_tracer.nn.encodings.spherical_harmonics import spherical_harmonics_kernels
from nrc_tracer.nn.encodings.triangle_wave import triangle_wave_kernels
from nrc_tracer.nn.optimizers import ema_kernels
from nrc_tracer.nn.optimizers.adam_kernels import ADAM

MODULES = {
    "one_blob": lambda: one_blob_kernels(4).forward.module,
    "frequency": lambda: frequency_kernels(12).forward.module,
    "triangle_wave": lambda: triangle_wave_kernels(12).forward.module,
    "identity": lambda: identity_kernels(1.0, 0.0).forward.module,
    "spherical_harmonics": lambda: spherical_harmonics_kernels(4).forward.module,
    "adam": lambda: ADAM["float32"].dense.module,
    "ema": lambda: ema_kernels.ema_dense.module,
}
GRIDS = {f"grid_{n_dims}d_{n_features}f": (n_dims, n_features) for n_dims in (2, 3, 4) for n_features in (1, 2, 4, 8)}


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("name", [*MODULES, *GRIDS])
def test_compiles_for_cuda(name, arch, tmp_path):
    """Machine code for Ampere and Hopper, with all kernels of the module in it."""
    initialize()
    module = MODULES[name]() if name in MODULES else grid_kernels(*GRIDS[name]).forward.module
    wp.compile_aot_module(module, arch=[arch], module_dir=tmp_path, use_ptx=False)
    binaries = list(tmp_path.glob("*.cubin"))
    assert len(binaries) == 1
    code = binaries[0].read_bytes()
    assert code[:4] == b"\x7fELF"
    assert module.kernels
    for key in module.kernels:
        assert key.rpartition(".")[2].encode() in code
