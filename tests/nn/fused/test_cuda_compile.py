"""The fused kernels compile for CUDA on machines without a GPU and use the instructions of tensor cores."""

import pytest

from benchmarks.cuda_code import find_tool, run_tool
from nrc_tracer.nn.fused.backward import backward_kernel
from nrc_tracer.nn.fused.descent import take_step
from nrc_tracer.nn.fused.forward import forward_kernel
from nrc_tracer.nn.fused.passes import pack_weights
from nrc_tracer.nn.fused.plan import GridColumns, Shape, backward_variant, forward_variant
from tests.cuda_binaries import ARCHITECTURES, compile_for_cuda

GRID = GridColumns(3, 2, 16)
VARIANTS = {
    "32x2": (Shape(16, 32, 2, 16), None),
    "64x1": (Shape(32, 64, 1, 16), None),
    "64x2": (Shape(32, 64, 2, 16), GRID),
    "128x2": (Shape(32, 128, 2, 16, "LeakyReLU", "Softplus"), None),
}


def products(binary) -> int | None:
    """Number of matrix instructions in a binary, or None without a disassembler."""
    if find_tool("nvdisasm") is None:
        return None
    code = run_tool("nvdisasm", "-c", str(binary))
    return code.count("HMMA.16816.F32")


@ARCHITECTURES
@pytest.mark.parametrize("name", VARIANTS)
def test_compiles_for_cuda(name, arch, tmp_path):
    """Forward and backward kernels compile; with a disassembler, the number of products is checked against the shapes."""
    shape, grid = VARIANTS[name]
    forward, backward = forward_variant(shape, grid), backward_variant(shape, grid)
    tiles = sum(rows // 16 * (columns // 16) for rows, columns, _ in shape.matrices)
    binary = compile_for_cuda(forward_kernel(forward).kernel.module, arch, tmp_path / "forward")
    found = products(binary)
    assert found in (None, 2 * tiles * forward.tiling.row_tiles)
    binary = compile_for_cuda(backward_kernel(backward).kernel.module, arch, tmp_path / "backward")
    found = products(binary)
    # Forward pass, input gradients, and the part of one warp in the weight gradients over 16 rows, whose loop may be unrolled
    share = sum(2 * share.own_rows * share.own_columns for share in backward.shares)
    assert found is None or found >= 4 * tiles * backward.tiling.row_tiles + share


@ARCHITECTURES
@pytest.mark.parametrize(
    ("module", "kernels"),
    [(pack_weights.module, [b"pack_weights", b"add_parts"]), (take_step.module, [b"judge", b"take_step"])],
    ids=["passes", "descent"],
)
def test_small_kernels_compile_for_cuda(module, kernels, arch, tmp_path):
    """These kernels pack weights, add parts, and make the optimizer's steps."""
    code = compile_for_cuda(module, arch, tmp_path).read_bytes()
    assert all(kernel in code for kernel in kernels)
