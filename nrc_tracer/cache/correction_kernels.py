"""Kernels that estimate the correction of a cached image: see `nrc_tracer.cache.correction`."""

import warp as wp

wp.set_module_options({"enable_backward": False})

NEIGHBOURS = wp.constant(2)  # groups on each side of a group whose energies are pooled with its own


@wp.struct
class Blocks:
    """The blocks of a division of the image, row by row; at first its pixels. All values are sums over the pixels of a block."""

    height: int  # blocks in a column
    width: int  # blocks in a row
    sizes: wp.array[wp.vec3d]  # the guide
    residuals: wp.array2d[wp.vec3d]  # of each half, [2, blocks]
    variances: wp.array2d[wp.vec3d]  # of the residuals of each half, [2, blocks]


@wp.struct
class Groups:
    """Groups of two by two blocks, each of which is a block of the next division."""

    above: int  # 1 if the groups of the first row have no blocks in their upper row, else 0
    left: int  # 1 if the groups of the first column have no blocks in their left column, else 0
    energy: wp.array2d[wp.float64]  # of the differences of the blocks from their group, for each half, [2, groups]
    noise: wp.array2d[wp.float64]  # the part of it that noise explains, for each half, [2, groups]
    factors: wp.array2d[wp.float64]  # of these differences in the correction, for each half, [2, groups]


@wp.func
def block_at(blocks: Blocks, row: int, column: int) -> int:
    """Index of a block, -1 beyond the image."""
    if row < 0 or column < 0 or row >= blocks.height or column >= blocks.width:
        return -1
    return row * blocks.width + column


@wp.kernel(enable_backward=False)
def join_blocks(small: Blocks, large: Blocks, groups: Groups, base: int):
    """Sum the blocks of group `base + tid`, and the energy and noise of their differences from their common mean."""
    group = base + wp.tid()
    row = 2 * (group // large.width) - groups.above
    column = 2 * (group % large.width) - groups.left
    size = wp.vec3d()
    for k in range(4):
        block = block_at(small, row + k // 2, column + k % 2)
        if block >= 0:
            size += small.sizes[block]
    large.sizes[group] = size
    for half in range(2):
        residual = wp.vec3d()
        variance = wp.vec3d()
        for k in range(4):
            block = block_at(small, row + k // 2, column + k % 2)
            if block >= 0:
                residual += small.residuals[half, block]
                variance += small.variances[half, block]
        large.residuals[half, group] = residual
        large.variances[half, group] = variance
        mean = wp.cw_div(residual, size)
        energy = wp.float64(0.0)
        noise = wp.float64(0.0)
        for k in range(4):
            block = block_at(small, row + k // 2, column + k % 2)
            if block >= 0:
                inside = small.sizes[block]
                detail = wp.cw_div(small.residuals[half, block], inside) - mean
                energy += wp.dot(wp.cw_mul(inside, detail), detail)
                # The mean of a group is that of its blocks, which takes a part of their noise
                own = wp.vec3d(wp.float64(1.0)) - wp.cw_div(inside, size)
                noise += wp.dot(own, wp.cw_div(small.variances[half, block], inside))
        groups.energy[half, group] = energy
        groups.noise[half, group] = noise


@wp.kernel(enable_backward=False)
def shrink_details(height: int, width: int, caution: wp.float64, shares: wp.vec2d, groups: Groups, base: int):
    """Find the factors of group `base + tid`: the share of the pooled energy that is signal, measured on the other half.

    `shares` are those of the halves in the samples. The factors include them.
    """
    group = base + wp.tid()
    row = group // width
    column = group % width
    for half in range(2):
        other = 1 - half
        energy = wp.float64(0.0)
        noise = wp.float64(0.0)
        for i in range(wp.max(row - NEIGHBOURS, 0), wp.min(row + NEIGHBOURS + 1, height)):
            for j in range(wp.max(column - NEIGHBOURS, 0), wp.min(column + NEIGHBOURS + 1, width)):
                energy += groups.energy[other, i * width + j]
                noise += groups.noise[other, i * width + j]
        factor = wp.float64(0.0)
        signal = energy - caution * noise
        if signal > wp.float64(0.0):
            # The noise of both halves together, estimated on one
            factor = signal / (signal + noise * shares[other])
        groups.factors[half, group] = factor * shares[half]


@wp.kernel(enable_backward=False)
def add_details(
    small: Blocks,
    large: Blocks,
    groups: Groups,
    means: wp.array[wp.vec3d],
    weight: wp.float64,
    base: int,
    values: wp.array[wp.vec3d],
):
    """Add the value of block `base + tid`, times a weight: that of its group, `means`, and the shrunk differences from it."""
    block = base + wp.tid()
    row = (block // small.width + groups.above) // 2
    column = (block % small.width + groups.left) // 2
    group = row * large.width + column
    value = means[group]
    for half in range(2):
        mean = wp.cw_div(large.residuals[half, group], large.sizes[group])
        detail = wp.cw_div(small.residuals[half, block], small.sizes[block]) - mean
        value += groups.factors[half, group] * detail
    values[block] = values[block] + weight * value
