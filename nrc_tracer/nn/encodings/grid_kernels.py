"""Warp kernels of the multiresolution grid, for any number of dimensions and features, on CPU and CUDA from one source.

On the CPU an item is a stretch of points at one level, so that one level's table is in the cache at a time, and a region of
the parameters is written by one item alone: Warp's atomics are plain additions there. On CUDA an item is one point at one
level and additions are atomic.
"""

import enum
from dataclasses import dataclass
from functools import cache
from typing import Any

import warp as wp

from nrc_tracer.nn.encodings.grid_snippets import forward_snippet, scatter_snippet


class Interpolation(enum.IntEnum):
    """How a value is taken from the vertices of a cell."""

    LINEAR = 0
    SMOOTHSTEP = 1
    NEAREST = 2


SMOOTHSTEP = wp.constant(int(Interpolation.SMOOTHSTEP))
NEAREST = wp.constant(int(Interpolation.NEAREST))
vec4u = wp.types.vector(length=4, dtype=wp.uint32)


@wp.struct
class Level:
    """A level of the grid as the kernels need it.

    Attributes:
        scale: A point is at `x * scale + 0.5`.
        offset: Its first entry in the table.
        entries: Number of its entries.
        mask: Bits of an index to keep: entries - 1 where it is hashed, else all.
        hashed: 1 if the terms of an index are joined by exclusive or, 0 if they are added.
        multipliers: What a vertex's coordinates are multiplied by in its index.
    """

    scale: wp.float32
    offset: wp.uint32
    entries: wp.uint32
    mask: wp.uint32
    hashed: wp.int32
    multipliers: vec4u


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


@wp.func_native("return fmaf(a, b, c);")
def fma(a: float, b: float, c: float) -> float:
    """a * b + c with one rounding."""
    ...


@dataclass(frozen=True)
class GridKernels:
    """The kernels for one number of dimensions and features; each says below what it does."""

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
    """Kernels for `n_dims` dimensions and `n_features` features per level, in a module of their own."""
    CORNERS = 2**n_dims
    DIMS = n_dims
    module = wp.get_module(f"nrc_tracer.nn.grid_{n_dims}d_{n_features}f")
    module.options["enable_backward"] = False

    point = wp.types.vector(length=n_dims, dtype=wp.float32)
    cell = wp.types.vector(length=n_dims, dtype=wp.uint32)
    features = wp.types.vector(length=n_features, dtype=wp.float32)

    @wp.struct
    class Place:
        """Where a point is in its cell: terms of the low vertex's index, and the weights of the high one per dimension."""

        low: cell
        step: cell
        weight: point
        slope: point
        curvature: point

    @wp.func
    def locate(level: Level, interpolation: int, x: wp.array2d[float], i: int) -> Place:
        place = Place()
        for d in range(wp.static(DIMS)):
            p = fma(x[i, d], level.scale, 0.5)
            floor = wp.floor(p)
            multiplier = level.multipliers[d]
            place.low[d] = wp.uint32(int(floor)) * multiplier
            place.step[d] = multiplier
            w = p - floor
            slope = level.scale
            curvature = 0.0
            if interpolation == SMOOTHSTEP:
                slope = 6.0 * w * (1.0 - w) * level.scale
                curvature = (6.0 - 12.0 * w) * level.scale * level.scale
                w = w * w * (3.0 - 2.0 * w)
            elif interpolation == NEAREST:
                w = 0.0 * w  # NaN stays NaN
                slope = 0.0
            place.weight[d] = w
            place.slope[d] = slope
            place.curvature[d] = curvature
        return place

    @wp.func
    def entry(level: Level, place: Place, corner: int) -> wp.uint32:
        """A corner's index in the level's table."""
        term = place.low[0]
        if corner & 1 != 0:
            term += place.step[0]
        xored = term
        added = term
        for d in range(1, wp.static(DIMS)):
            term = place.low[d]
            if (corner >> d) & 1 != 0:
                term += place.step[d]
            xored = xored ^ term
            added = added + term
        index = wp.where(level.hashed != 0, xored, added) & level.mask
        if index >= level.entries:
            index = index % level.entries
        return index

    @wp.func
    def corner_weight(place: Place, corner: int) -> float:
        weight = float(1.0)
        for d in range(wp.static(DIMS)):
            if (corner >> d) & 1 != 0:
                weight *= place.weight[d]
            else:
                weight *= 1.0 - place.weight[d]
        return weight

    @wp.func
    def slope_along(place: Place, corner: int, axis: int) -> float:
        """The derivative of a corner's weight with respect to one coordinate."""
        slope = place.slope[axis]
        if (corner >> axis) & 1 == 0:
            slope = -slope
        for d in range(wp.static(DIMS)):
            if d != axis:
                if (corner >> d) & 1 != 0:
                    slope *= place.weight[d]
                else:
                    slope *= 1.0 - place.weight[d]
        return slope

    @wp.func
    def second_slope(place: Place, corner: int, axis: int, other: int) -> float:
        """The second derivative of a corner's weight with respect to two coordinates."""
        result = float(1.0)
        for d in range(wp.static(DIMS)):
            sign = -1.0
            weight = 1.0 - place.weight[d]
            if (corner >> d) & 1 != 0:
                sign = 1.0
                weight = place.weight[d]
            if d == axis and d == other:
                result *= sign * place.curvature[d]
            elif d == axis or d == other:
                result *= sign * place.slope[d]
            else:
                result *= weight
        return result

    @wp.func
    def directional_weight(place: Place, corner: int, direction: point) -> float:
        result = float(0.0)
        for axis in range(wp.static(DIMS)):
            result += direction[axis] * slope_along(place, corner, axis)
        return result

    @wp.func
    def row(values: wp.array2d[float], i: int) -> point:
        result = point()
        for d in range(wp.static(DIMS)):
            result[d] = values[i, d]
        return result

    @wp.func
    def level_row(values: wp.array2d[float], i: int, level: int) -> features:
        """The columns of row `i` that belong to a level."""
        result = features()
        for f in range(wp.static(n_features)):
            result[f] = values[i, level * wp.static(n_features) + f]
        return result

    @wp.func_native(forward_snippet(n_dims, n_features))
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

    @wp.func_native(scatter_snippet(n_dims, n_features))
    def add_up(
        level: Level,
        interpolation: int,
        x: wp.array2d[float],
        begin: int,
        end: int,
        d_out: wp.array2d[float],
        column: int,
        gradient: wp.array[features],
        region: Region,
        shift: int,
        stamp: int,
        slot_bits: int,
        slots: wp.array[int],
        touched: wp.array[int],
        count: int,
    ) -> int: ...

    @wp.kernel(module=module, enable_backward=False)
    def forward(
        base: int,
        n: int,
        points: int,
        stretches: int,
        levels: wp.array[Level],
        interpolation: int,
        x: wp.array2d[float],
        table: wp.array[features],
        out: wp.array2d[float],
    ):
        """Values of one level for a stretch of points."""
        item = base + wp.tid()
        index = item // stretches
        begin = (item - index * stretches) * points
        encode(
            levels[index], interpolation, x, begin, wp.min(begin + points, n), table, out, index * wp.static(n_features)
        )

    @wp.kernel(module=module, enable_backward=False)
    def tangent(
        base: int,
        n: int,
        points: int,
        stretches: int,
        levels: wp.array[Level],
        interpolation: int,
        x: wp.array2d[float],
        table: wp.array[features],
        direction: wp.array2d[float],
        out: wp.array2d[float],
    ):
        """Derivatives of one level's values along a direction for a stretch of points."""
        item = base + wp.tid()
        index = item // stretches
        begin = (item - index * stretches) * points
        level = levels[index]
        for i in range(begin, wp.min(begin + points, n)):
            place = locate(level, interpolation, x, i)
            along = row(direction, i)
            value = features()
            for corner in range(wp.static(CORNERS)):
                weight = directional_weight(place, corner, along)
                value += weight * table[level.offset + entry(level, place, corner)]
            for f in range(wp.static(n_features)):
                out[i, index * wp.static(n_features) + f] = value[f]

    @wp.kernel(module=module, enable_backward=False)
    def scatter(
        base: int,
        n: int,
        points: int,
        stretches: int,
        levels: wp.array[Level],
        interpolation: int,
        x: wp.array2d[float],
        d_out: wp.array2d[float],
        gradient: wp.array[features],
        regions: wp.array[Region],
        begins: wp.array[int],
        stamp: int,
        slot_bits: int,
        slots: wp.array[int],
        touched: wp.array[int],
        counts: wp.array[int],
    ):
        """Add up a region's gradients over a stretch of points; with a stamp, list the entries that get some.

        With a stamp, `gradient` has room for those entries only, from `begins` of the region on; see `Regions`.

        Where the points have as many corners as the level entries, all entries are listed: one after the other costs less. The
        level decides, not the region: what is listed must not depend on the number of threads.
        """
        item = base + wp.tid()
        r = item // stretches
        begin = (item - r * stretches) * points
        region = regions[r]
        level = levels[region.level]
        count = int(0)
        mark = stamp
        shift = int(0)
        if stamp != 0:
            shift = begins[r]
            if n >= int(level.entries) // wp.static(CORNERS):
                count = int(region.last - region.first)
                for k in range(shift, shift + count):
                    gradient[k] = features()
                shift -= int(level.offset + region.first)
                mark = 0
        count = add_up(
            level,
            interpolation,
            x,
            begin,
            wp.min(begin + points, n),
            d_out,
            region.level * wp.static(n_features),
            gradient,
            region,
            shift,
            mark,
            slot_bits,
            slots,
            touched,
            count,
        )
        if stamp != 0:
            counts[r] = count

    @wp.kernel(module=module, enable_backward=False)
    def scatter_fixed(
        base: int,
        n: int,
        points: int,
        stretches: int,
        levels: wp.array[Level],
        interpolation: int,
        x: wp.array2d[float],
        d_out: wp.array2d[float],
        scale: wp.array[wp.float64],
        totals: wp.array2d[wp.int64],
        regions: wp.array[Region],
    ):
        """Add up a region's gradients, times `scale`, as integers: their sum does not depend on the order."""
        item = base + wp.tid()
        r = item // stretches
        begin = (item - r * stretches) * points
        region = regions[r]
        level = levels[region.level]
        for i in range(begin, wp.min(begin + points, n)):
            place = locate(level, interpolation, x, i)
            d_value = level_row(d_out, i, region.level)
            for corner in range(wp.static(CORNERS)):
                index = entry(level, place, corner)
                if index >= region.first and index < region.last:
                    share = corner_weight(place, corner) * d_value
                    for f in range(wp.static(n_features)):
                        part = wp.int64(wp.round(wp.float64(share[f]) * scale[0]))
                        wp.atomic_add(totals, int(level.offset + index), f, part)

    @wp.kernel(module=module, enable_backward=False)
    def scatter_tangent(
        base: int,
        n: int,
        points: int,
        stretches: int,
        levels: wp.array[Level],
        interpolation: int,
        x: wp.array2d[float],
        direction: wp.array2d[float],
        d_out: wp.array2d[float],
        gradient: wp.array[features],
        regions: wp.array[Region],
    ):
        """Add up a region's gradients for the derivative of the values along a direction."""
        item = base + wp.tid()
        r = item // stretches
        begin = (item - r * stretches) * points
        region = regions[r]
        level = levels[region.level]
        for i in range(begin, wp.min(begin + points, n)):
            place = locate(level, interpolation, x, i)
            along = row(direction, i)
            d_value = level_row(d_out, i, region.level)
            for corner in range(wp.static(CORNERS)):
                index = entry(level, place, corner)
                if index >= region.first and index < region.last:
                    weight = directional_weight(place, corner, along)
                    wp.atomic_add(gradient, int(level.offset + index), weight * d_value)

    @wp.kernel(module=module, enable_backward=False)
    def input_gradient(
        base: int,
        n: int,
        points: int,
        levels: wp.array[Level],
        interpolation: int,
        x: wp.array2d[float],
        table: wp.array[features],
        d_out: wp.array2d[float],
        d_x: wp.array2d[float],
    ):
        """Add the gradient with respect to the input of a stretch of points, level by level."""
        begin = (base + wp.tid()) * points
        for index in range(levels.shape[0]):
            level = levels[index]
            for i in range(begin, wp.min(begin + points, n)):
                place = locate(level, interpolation, x, i)
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
        n: int,
        points: int,
        levels: wp.array[Level],
        interpolation: int,
        x: wp.array2d[float],
        table: wp.array[features],
        d_out: wp.array2d[float],
        direction: wp.array2d[float],
        d_x: wp.array2d[float],
    ):
        """Add the gradient of (input gradient . direction) with respect to the input, level by level."""
        begin = (base + wp.tid()) * points
        for index in range(levels.shape[0]):
            level = levels[index]
            for i in range(begin, wp.min(begin + points, n)):
                place = locate(level, interpolation, x, i)
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

    return GridKernels(
        features, forward, tangent, scatter, scatter_fixed, scatter_tangent, input_gradient, input_hessian
    )
