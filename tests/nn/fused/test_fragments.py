"""Fragments of matrices: the element in each lane according to NVIDIA's tables, and products compared with NumPy."""

from functools import cache

import numpy as np
import pytest
import warp as wp

from nrc_tracer.device.launch import initialize
from nrc_tracer.nn.fused.fragments import block_index, preamble

LANE = np.arange(32)
GROUP, IN_GROUP = LANE // 4, LANE % 4
"""Names groupID and threadID_in_group of the PTX ISA."""


def place_of_a(i):
    """Row and column of a_i of .f16 m16n8k16 (PTX ISA, figure of matrix A), i = 0 .. 7."""
    row = GROUP if i in (0, 1, 4, 5) else GROUP + 8
    column = IN_GROUP * 2 + (i & 1) + (8 if i >= 4 else 0)
    return row, column


def place_of_b(i):
    """Row and column of b_i, i = 0 .. 3."""
    return IN_GROUP * 2 + (i & 1) + (8 if i >= 2 else 0), GROUP


def place_of_c(i):
    """Row and column of c_i, i = 0 .. 3."""
    return (GROUP if i < 2 else GROUP + 8), IN_GROUP * 2 + (i & 1)


SNIPPET = (
    preamble(1)
    + """
    const unsigned short* blocks = (const unsigned short*)matrix.data;
    unsigned short* place = (unsigned short*)scratch.data;
    const int across = columns / 8 * 64;
    Fragment x;
    NRC_WARPS(w, warp) {
        if (way == 0) Warp::load(x, blocks, across, 64, false);
        if (way == 1) Warp::load(x, blocks, 64, across, true);
        if (way == 2) Warp::fetch(x, blocks, across, 64, false);
        if (way == 3) Warp::fetch(x, blocks, 64, across, true);
        if (way < 4) {
            Warp::store(x, place, across, 64);
            NRC_LANES(i, lane) for (int r = 0; r < 4; ++r) registers.data[4 * lane + r] = (int)x.r[r][i];
        } else {
            Fragment a, b;
            NRC_LANES(i, lane) for (int r = 0; r < 4; ++r) {
                a.r[r][i] = (unsigned)registers.data[4 * lane + r];
                b.r[r][i] = (unsigned)registers.data[128 + 4 * lane + r];
            }
            Sums sums[2] = {};
            for (int turn = 0; turn < 2; ++turn) for (int s = 0; s < 2; ++s) Warp::multiply(sums[s], a, b, 2 * s);
            NRC_LANES(i, lane) for (int s = 0; s < 2; ++s) for (int v = 0; v < 4; ++v)
                out.data[8 * lane + 4 * s + v] = sums[s].v[v][i];
        }
    }
"""
)


@cache
def fragments_kernel():
    initialize()
    module = wp.get_module("tests.nn.fused.fragments")
    module.options |= {"enable_backward": False, "optimization_level": 0}

    @wp.func_native(SNIPPET)
    def run(
        way: int,
        columns: int,
        matrix: wp.array[wp.float16],
        scratch: wp.array[wp.float16],
        registers: wp.array[int],
        out: wp.array[float],
    ): ...

    @wp.kernel(module=module, enable_backward=False)
    def fragments(
        way: int,
        columns: int,
        matrix: wp.array[wp.float16],
        scratch: wp.array[wp.float16],
        registers: wp.array[int],
        out: wp.array[float],
    ):
        run(way, columns, matrix, scratch, registers, out)

    return fragments


def in_blocks(matrix):
    """A matrix of halfs stored in blocks of 8 x 8."""
    rows, columns = matrix.shape
    return matrix.reshape(rows // 8, 8, columns // 8, 8).transpose(0, 2, 1, 3).reshape(-1)


def launch(way, columns=16, matrix=None, registers=None):
    arrays = [
        wp.array(np.zeros(1) if matrix is None else matrix, dtype=wp.float16, device="cpu"),
        wp.zeros(1024, dtype=wp.float16, device="cpu"),
        wp.array(np.zeros(256) if registers is None else registers, dtype=wp.int32, device="cpu"),
        wp.zeros(256, dtype=float, device="cpu"),
    ]
    wp.launch(fragments_kernel(), dim=1, inputs=[way, columns, *arrays], device="cpu")
    return [array.numpy() for array in arrays]


def halfs(registers):
    """The halfs in the registers: from [32 lanes, 4] to [32, 8]."""
    return registers.astype(np.int32).reshape(32, 4).view(np.float16).reshape(32, 8)


@pytest.mark.parametrize("way", ["load", "fetch"])
def test_loads_give_lanes_the_elements_of_the_tables(way):
    """The upper left part of a wider matrix is loaded, also transposed, as operand A, and stored back."""
    matrix = np.random.default_rng(1).uniform(-1, 1, (16, 32)).astype(np.float16)
    first = {"load": 0, "fetch": 2}[way]
    _, stored, registers, _ = launch(first, 32, in_blocks(matrix))
    found = halfs(registers[:128])
    for i in range(8):
        np.testing.assert_array_equal(found[:, i], matrix[place_of_a(i)])
    wide = np.zeros_like(matrix)
    wide[:, :16] = matrix[:, :16]
    np.testing.assert_array_equal(stored[: wide.size], in_blocks(wide))

    _, _, registers, _ = launch(first + 1, 32, in_blocks(matrix))
    found = halfs(registers[:128])
    for i in range(8):
        np.testing.assert_array_equal(found[:, i], matrix.T[:16][place_of_a(i)])


def test_products_agree_with_numpy():
    """Two products are accumulated; the test arranges their operands according to the tables."""
    rng = np.random.default_rng(2)
    a, b = rng.uniform(-1, 1, (16, 16)).astype(np.float16), rng.uniform(-1, 1, (16, 16)).astype(np.float16)
    left = np.stack([a[place_of_a(i)] for i in range(8)], axis=1)
    right = np.stack([b[:, 8 * s :][place_of_b(i)] for s in range(2) for i in range(4)], axis=1)
    registers = np.concatenate([np.ascontiguousarray(side).view(np.int32).reshape(-1) for side in (left, right)])
    out = launch(4, registers=registers)[3].reshape(32, 8)
    expected = 2.0 * (a.astype(np.float64) @ b.astype(np.float64))
    for s in range(2):
        for i in range(4):
            np.testing.assert_allclose(out[:, 4 * s + i], expected[:, 8 * s :][place_of_c(i)], atol=1e-5)


@pytest.mark.parametrize("columns", [16, 48])
def test_block_index_is_the_layout_of_blocks(columns):
    """The Python function is the one that packs weights."""
    order = in_blocks(np.arange(32 * columns).reshape(32, columns))
    for row, column in ((0, 0), (7, 9), (8, 0), (31, columns - 1), (17, 13)):
        assert order[block_index.func(row, column, columns)] == row * columns + column
