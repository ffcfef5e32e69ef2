"""Warp kernels of the multiresolution grid, for any number of dimensions and features, on CPU and CUDA from one source.

On the CPU an item is a stretch of points at one level, so that one level's table is in the cache at a time, and a region of
the parameters is written by one item alone: Warp's atomics are plain additions there. On CUDA an item is one point at one
level and additions are atomic.
"""

# mypy: disable-error-code="valid-type,empty-body"
# The vector types are made by Warp at run time, and Warp checks what is done with them when it compiles a kernel.

from dataclasses import dataclass
from functools import cache
from typing import Any

import warp as wp

from nrc_tracer.nn.encodings.grid_cells import Level, cell_functions
from nrc_tracer.nn.encodings.grid_snippets import forward_snippet, scatter_snippet
from nrc_tracer.nn.touched_lists import TouchedLists


@wp.struct
class GridBatch:
    """The points of a launch, and how its items share them.

    Attributes:
        n: Number of points.
        points: Points per item.
        stretches: Items per level, or per region, which together take all points.
        interpolation: An `Interpolation`.
    """

    n: int
    points: int
    stretches: int
    interpolation: int


@wp.struct
class Region:
    """A stretch of one level's entries, whose gradients one item of a kernel sums up.

    Attributes:
        level: The level.
        first: Its first entry, counted from the level's first.
        last: One past its last entry.
    """

    level: wp.int32
    first: wp.uint32
    last: wp.uint32


@wp.func
def stretch_of(batch: GridBatch, item: int):
    """The level or region of an item, its first point, and one past its last point."""
    index = item // batch.stretches
    begin = (item - index * batch.stretches) * batch.points
    return index, begin, wp.min(begin + batch.points, batch.n)


@dataclass(frozen=True)
class GridKernels:
    """The kernels for one number of dimensions and features; their docstrings say what each does.

    Attributes:
        features: Type of a table's entry, a vector of float32.
    """

    features: Any
    forward: wp.Kernel
    tangent: wp.Kernel
    scatter: wp.Kernel
    scatter_fixed: wp.Kernel
    scatter_tangent: wp.Kernel
    input_gradient: wp.Kernel
    input_hessian: wp.Kernel


@cache
def grid_kernels(n_dims: int, n_features: int) -> GridKernels:
    """The kernels for `n_dims` dimensions and `n_features` features per level, in a module of their own."""
    module = wp.get_module(f"nrc_tracer.nn.grid_{n_dims}d_{n_features}f")
    module.options["enable_backward"] = False
    features = wp.types.vector(length=n_features, dtype=wp.float32)

    @wp.func
    def level_row(values: wp.array2d[float], i: int, level: int) -> features:
        """The columns of row `i` that belong to a level."""
        result = features()
        for f in range(wp.static(n_features)):
            result[f] = values[i, level * wp.static(n_features) + f]
        return result

    return GridKernels(
        features,
        *_value_kernels(module, n_dims, n_features, features),
        *_parameter_kernels(module, n_dims, n_features, features, level_row),
        *_input_kernels(module, n_dims, n_features, features, level_row),
    )


def _value_kernels(module: wp.Module, n_dims: int, n_features: int, features: Any) -> tuple[wp.Kernel, wp.Kernel]:
    """The kernels that fill a level's columns of the output: `forward` and `tangent`."""
    CORNERS = 2**n_dims
    FEATURES = n_features
    cells = cell_functions(n_dims)
    locate, entry, directional_weight, row = cells.locate, cells.entry, cells.directional_weight, cells.row

    @wp.func_native(forward_snippet(n_dims, FEATURES))
    def encode(
        level: Level,
        interpolation: int,
        x: wp.array2d[float],
        begin: int,
        end: int,
        table: wp.array[features],
        out: wp.array2d[float],
        column: int,
    ): ...

    @wp.kernel(module=module, enable_backward=False)
    def forward(
        base: int,
        batch: GridBatch,
        levels: wp.array[Level],
        x: wp.array2d[float],
        table: wp.array[features],
        out: wp.array2d[float],
    ):
        """Values of one level for a stretch of points."""
        index, begin, end = stretch_of(batch, base + wp.tid())
        encode(levels[index], batch.interpolation, x, begin, end, table, out, index * wp.static(FEATURES))

    @wp.kernel(module=module, enable_backward=False)
    def tangent(
        base: int,
        batch: GridBatch,
        levels: wp.array[Level],
        x: wp.array2d[float],
        table: wp.array[features],
        direction: wp.array2d[float],
        out: wp.array2d[float],
    ):
        """Derivatives of one level's values along a direction for a stretch of points."""
        index, begin, end = stretch_of(batch, base + wp.tid())
        level = levels[index]
        for i in range(begin, end):
            place = locate(level, batch.interpolation, x, i)
            along = row(direction, i)
            value = features()
            for corner in range(wp.static(CORNERS)):
                weight = directional_weight(place, corner, along)
                value += weight * table[level.offset + entry(level, place, corner)]
            for f in range(wp.static(FEATURES)):
                out[i, index * wp.static(FEATURES) + f] = value[f]

    return forward, tangent


def _parameter_kernels(
    module: wp.Module, n_dims: int, n_features: int, features: Any, level_row: wp.Function
) -> tuple[wp.Kernel, wp.Kernel, wp.Kernel]:
    """The kernels that add up gradients of parameters, region by region: `scatter`, `scatter_fixed`, `scatter_tangent`."""
    CORNERS = 2**n_dims
    FEATURES = n_features
    cells = cell_functions(n_dims)
    locate, entry, corner_weight, directional_weight, row = (
        cells.locate,
        cells.entry,
        cells.corner_weight,
        cells.directional_weight,
        cells.row,
    )

    @wp.func_native(scatter_snippet(n_dims, FEATURES))
    def add_up(
        level: Level,
        region: Region,
        interpolation: int,
        x: wp.array2d[float],
        begin: int,
        end: int,
        d_out: wp.array2d[float],
        gradient: wp.array[features],
        shift: int,
        lists: TouchedLists,
        stamp: int,
        count: int,
    ) -> int: ...

    @wp.kernel(module=module, enable_backward=False)
    def scatter(
        base: int,
        batch: GridBatch,
        levels: wp.array[Level],
        x: wp.array2d[float],
        d_out: wp.array2d[float],
        gradient: wp.array[features],
        regions: wp.array[Region],
        lists: TouchedLists,
    ):
        """Add up a region's gradients over a stretch of points; with a stamp, list the entries that get some.

        With a stamp, `gradient` has room for the listed entries only, from `lists.begins` of the region on.

        Where the points have as many corners as the level has entries, all entries are listed: going through them in order costs
        less. The size of the level decides, not of the region: the lists must not depend on the number of threads.
        """
        r, begin, end = stretch_of(batch, base + wp.tid())
        region = regions[r]
        level = levels[region.level]
        count = int(0)
        stamp = lists.stamp
        shift = int(0)
        if lists.stamp != 0:
            shift = lists.begins[r]
            if batch.n >= int(level.entries) // wp.static(CORNERS):
                count = int(region.last - region.first)
                for k in range(shift, shift + count):
                    gradient[k] = features()
                shift -= int(level.offset + region.first)
                stamp = 0
        count = add_up(level, region, batch.interpolation, x, begin, end, d_out, gradient, shift, lists, stamp, count)
        if lists.stamp != 0:
            lists.counts[r] = count

    @wp.kernel(module=module, enable_backward=False)
    def scatter_fixed(
        base: int,
        batch: GridBatch,
        levels: wp.array[Level],
        x: wp.array2d[float],
        d_out: wp.array2d[float],
        scale: wp.array[wp.float64],
        totals: wp.array2d[wp.int64],
        regions: wp.array[Region],
    ):
        """Add up a region's gradients, times `scale`, as integers: their sum does not depend on the order."""
        r, begin, end = stretch_of(batch, base + wp.tid())
        region = regions[r]
        level = levels[region.level]
        for i in range(begin, end):
            place = locate(level, batch.interpolation, x, i)
            d_value = level_row(d_out, i, region.level)
            for corner in range(wp.static(CORNERS)):
                index = entry(level, place, corner)
                if index >= region.first and index < region.last:
                    contribution = corner_weight(place, corner) * d_value
                    for f in range(wp.static(FEATURES)):
                        part = wp.int64(wp.round(wp.float64(contribution[f]) * scale[0]))
                        wp.atomic_add(totals, int(level.offset + index), f, part)

    @wp.kernel(module=module, enable_backward=False)
    def scatter_tangent(
        base: int,
        batch: GridBatch,
        levels: wp.array[Level],
        x: wp.array2d[float],
        direction: wp.array2d[float],
        d_out: wp.array2d[float],
        gradient: wp.array[features],
        regions: wp.array[Region],
    ):
        """Add up a region's gradients for the derivative of the values along a direction."""
        r, begin, end = stretch_of(batch, base + wp.tid())
        region = regions[r]
        level = levels[region.level]
        for i in range(begin, end):
            place = locate(level, batch.interpolation, x, i)
            along = row(direction, i)
            d_value = level_row(d_out, i, region.level)
            for corner in range(wp.static(CORNERS)):
                index = entry(level, place, corner)
                if index >= region.first and index < region.last:
                    weight = directional_weight(place, corner, along)
                    wp.atomic_add(gradient, int(level.offset + index), weight * d_value)

    return scatter, scatter_fixed, scatter_tangent


def _input_kernels(
    module: wp.Module, n_dims: int, n_features: int, features: Any, level_row: wp.Function
) -> tuple[wp.Kernel, wp.Kernel]:
    """The kernels that own rows of an input gradient: `input_gradient` and `input_hessian`."""
    CORNERS = 2**n_dims
    DIMS = n_dims
    cells = cell_functions(n_dims)
    point = cells.point
    locate, entry, slope_along, second_slope, row = (
        cells.locate,
        cells.entry,
        cells.slope_along,
        cells.second_slope,
        cells.row,
    )

    @wp.kernel(module=module, enable_backward=False)
    def input_gradient(
        base: int,
        batch: GridBatch,
        levels: wp.array[Level],
        x: wp.array2d[float],
        table: wp.array[features],
        d_out: wp.array2d[float],
        d_x: wp.array2d[float],
    ):
        """Add the gradient with respect to the input of a stretch of points, level by level."""
        _, begin, end = stretch_of(batch, base + wp.tid())
        for index in range(levels.shape[0]):
            level = levels[index]
            for i in range(begin, end):
                place = locate(level, batch.interpolation, x, i)
                d_value = level_row(d_out, i, index)
                gradient = point()
                for corner in range(wp.static(CORNERS)):
                    value = wp.dot(d_value, table[level.offset + entry(level, place, corner)])
                    for axis in range(wp.static(DIMS)):
                        gradient[axis] += value * slope_along(place, corner, axis)
                for axis in range(wp.static(DIMS)):
                    d_x[i, axis] = d_x[i, axis] + gradient[axis]

    @wp.kernel(module=module, enable_backward=False)
    def input_hessian(
        base: int,
        batch: GridBatch,
        levels: wp.array[Level],
        x: wp.array2d[float],
        table: wp.array[features],
        d_out: wp.array2d[float],
        direction: wp.array2d[float],
        d_x: wp.array2d[float],
    ):
        """Add the gradient of (input gradient . direction) with respect to the input, level by level."""
        _, begin, end = stretch_of(batch, base + wp.tid())
        for index in range(levels.shape[0]):
            level = levels[index]
            for i in range(begin, end):
                place = locate(level, batch.interpolation, x, i)
                along = row(direction, i)
                d_value = level_row(d_out, i, index)
                gradient = point()
                for corner in range(wp.static(CORNERS)):
                    value = wp.dot(d_value, table[level.offset + entry(level, place, corner)])
                    for axis in range(wp.static(DIMS)):
                        for other in range(wp.static(DIMS)):
                            gradient[axis] += value * along[other] * second_slope(place, corner, axis, other)
                for axis in range(wp.static(DIMS)):
                    d_x[i, axis] = d_x[i, axis] + gradient[axis]

    return input_gradient, input_hessian
