"""Warp functions for a point in a grid: its cell, the table entries of the cell's corners, and their weights."""

# mypy: disable-error-code="valid-type,index,empty-body"
# The vector types are made by Warp at run time, and Warp checks what is done with them when it compiles a kernel.

import enum
from dataclasses import dataclass
from functools import cache
from typing import Any

import warp as wp


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
    """A level of the grid.

    Attributes:
        scale: A point is at `x * scale + 0.5`, in cells.
        offset: The first entry of its table, counted from the grid's first.
        entries: Number of entries in its table.
        mask: The bits of an index to keep: `entries - 1` where vertices are hashed, else all.
        hashed: 1 if the terms of an index are combined by exclusive or, 0 if they are added.
        multipliers: Factors of a vertex's coordinates in its index.
    """

    scale: wp.float32
    offset: wp.uint32
    entries: wp.uint32
    mask: wp.uint32
    hashed: wp.int32
    multipliers: vec4u


@wp.func_native("return fmaf(a, b, c);")
def fma(a: float, b: float, c: float) -> float:
    """a * b + c with one rounding."""
    ...


@dataclass(frozen=True)
class CellFunctions:
    """The Warp functions for one number of dimensions.

    Attributes:
        point: Type of a point or direction, a vector of float32.
        Place: The position of a point in its cell.
        locate: `(level, interpolation, x, i) -> Place` of the point in row i of x.
        entry: `(level, place, corner) -> uint32`, the entry of a corner in the level's table.
        corner_weight: `(place, corner) -> float`, the weight of a corner.
        slope_along: `(place, corner, axis) -> float`, the derivative of that weight with respect to a coordinate.
        second_slope: `(place, corner, axis, other) -> float`, its second derivative with respect to two coordinates.
        directional_weight: `(place, corner, direction) -> float`, its derivative along a direction.
        row: `(values, i) -> point`, a row of a matrix.
    """

    point: Any
    Place: Any
    locate: wp.Function
    entry: wp.Function
    corner_weight: wp.Function
    slope_along: wp.Function
    second_slope: wp.Function
    directional_weight: wp.Function
    row: wp.Function


@cache
def cell_functions(n_dims: int) -> CellFunctions:
    """The functions for `n_dims` dimensions. Bit d of a corner's number tells whether it is the high one in dimension d."""
    DIMS = n_dims
    point = wp.types.vector(length=n_dims, dtype=wp.float32)
    cell = wp.types.vector(length=n_dims, dtype=wp.uint32)

    @wp.struct
    class Place:
        """The position of a point in its cell.

        Attributes:
            low: The term of the low vertex in an index, per dimension.
            step: The difference between the terms of the high and the low vertex.
            weight: The weight of the high vertex.
            slope: The derivative of the weight with respect to the input.
            curvature: The second derivative of the weight.
        """

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

    return CellFunctions(point, Place, locate, entry, corner_weight, slope_along, second_slope, directional_weight, row)
