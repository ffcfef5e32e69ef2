"""Two small kernels that go with the fused ones: rounding weights to halfs, and summing the parts of a gradient."""

import warp as wp

from nrc_tracer.nn.fused.fragments import block_index

wp.set_module_options({"enable_backward": False})


@wp.func
def packed_place(i: int, ends: wp.array[int], columns: wp.array[int]) -> int:
    """The index of weight i among halfs in blocks, for matrices that end at `ends` and have `columns` columns."""
    layer = int(0)
    begin = int(0)
    while i >= ends[layer]:
        begin = ends[layer]
        layer += 1
    row = (i - begin) // columns[layer]
    column = i - begin - row * columns[layer]
    return begin + block_index(row, column, columns[layer])


@wp.kernel
def pack_weights(
    base: int,
    params: wp.array[float],
    ends: wp.array[int],
    columns: wp.array[int],
    packed: wp.array[wp.float16],
):
    """Round the weights to halfs, and store each matrix in blocks."""
    i = base + wp.tid()
    packed[packed_place(i, ends, columns)] = wp.float16(params[i])


@wp.kernel
def add_parts(base: int, parts: wp.array2d[float], scale: float, total: wp.array[float]):
    """`scale` times the sum of all rows, in order."""
    i = base + wp.tid()
    result = float(0.0)
    for row in range(parts.shape[0]):
        result += parts[row, i]
    total[i] = scale * result
