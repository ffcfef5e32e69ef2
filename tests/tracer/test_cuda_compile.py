"""The path kernel compiles for CUDA on machines without a GPU, and a GPU renders the same image as the CPU."""

import time

import numpy as np
import pytest
import warp as wp

import nrc_tracer.cache.assembly
import nrc_tracer.cache.tiles
import nrc_tracer.cache.voxel_table
import nrc_tracer.tracer.cut_path
import nrc_tracer.tracer.film_sums
import nrc_tracer.tracer.layers
import nrc_tracer.tracer.path
from tests.cuda_binaries import ARCHITECTURES, compile_for_cuda
from tests.tracer.test_determinism import room
from tests.tracer.tiny_scenes import rendered


@pytest.fixture(autouse=True)
def level(request, monkeypatch):
    """Hopper code is compiled as usual; Ampere code one level lower, which takes NVRTC and ptxas a third of the time."""
    if "arch" in request.fixturenames and request.getfixturevalue("arch") == 80:
        monkeypatch.setattr(wp.config, "optimization_level", 2)


@ARCHITECTURES
@pytest.mark.parametrize(
    ("module", "kernel"),
    [(nrc_tracer.tracer.path, b"trace_paths"), (nrc_tracer.tracer.cut_path, b"trace_cut_paths")],
    ids=["path", "cut_path"],
)
def test_paths_compile_for_cuda(module, kernel, arch, tmp_path, capsys):
    """The compiler produces machine code; the time for each architecture is printed in seconds."""
    start = time.perf_counter()
    code = compile_for_cuda(module, arch, tmp_path).read_bytes()
    with capsys.disabled():
        print(f" sm_{arch}: {time.perf_counter() - start:.1f} s", end="", flush=True)
    assert kernel in code


@ARCHITECTURES
@pytest.mark.parametrize(
    ("module", "kernels"),
    [
        (nrc_tracer.tracer.layers, [b"first_hits"]),
        (nrc_tracer.tracer.film_sums, [b"add_finished_block"]),
        (
            nrc_tracer.cache.assembly,
            [b"list_marked", b"gather_ends", b"propagate_targets", b"draw_records", b"add_samples"],
        ),
        (nrc_tracer.cache.tiles, [b"choose_tiles"]),
        (nrc_tracer.cache.voxel_table, [b"find_voxels", b"add_records", b"move_entries", b"look_up"]),
    ],
    ids=["layers", "film_sums", "assembly", "tiles", "voxels"],
)
def test_kernels_around_paths_compile_for_cuda(module, kernels, arch, tmp_path):
    code = compile_for_cuda(module, arch, tmp_path).read_bytes()
    assert all(kernel in code for kernel in kernels)


@pytest.mark.cuda
def test_cuda_renders_what_the_cpu_renders():
    """Images of both devices have the same mean and the same pixels within their statistical error."""
    wp.init()
    if not wp.is_cuda_available():
        pytest.skip("no CUDA device")
    from nrc_tracer.tracer import Renderer

    on_cpu = rendered(room(), 256)
    on_cuda = Renderer(room(), device="cuda:0")
    on_cuda.compile()
    on_cuda.step(256)
    (a, va), (b, vb) = on_cpu.moments(), on_cuda.moments()
    # The random numbers are the same, so most paths are, and the difference is far below this error
    error = np.sqrt((va + vb) / 256) + 1e-5
    assert np.mean(np.abs(a - b) < 4.0 * error) > 0.999
    total = np.sqrt((va + vb).sum(axis=(0, 1)) / 256) / a[..., 0].size
    assert np.all(np.abs(a.mean(axis=(0, 1)) - b.mean(axis=(0, 1))) < 4.0 * total)
    assert on_cuda.dropped == 0
