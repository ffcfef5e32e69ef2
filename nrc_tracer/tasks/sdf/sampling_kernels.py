"""The kernels that draw points on a surface, near it and in a box, as functions of (key, index)."""

import warp as wp

from nrc_tracer.device.random_bits import GOLDEN, mix_bits

ON_SURFACE = wp.constant(0)
LOGISTIC = wp.constant(1)
UNIFORM = wp.constant(2)


@wp.struct
class SurfaceTable:
    """Triangles to be chosen by area.

    `cumulative` holds the fraction of the total area up to and including each triangle. `guide` holds the first triangle to look
    at for each of as many equal parts of [0, 1) (Chen and Asau 1974).
    """

    positions: wp.array[wp.vec3]
    indices: wp.array[int]
    cumulative: wp.array[wp.float64]
    guide: wp.array[int]


@wp.func
def random_bits(key: wp.uint64, index: int, dimension: int) -> wp.uint64:
    """Random bits that depend on all arguments (SplitMix64)."""
    return mix_bits(key + (wp.uint64(index) * wp.uint64(8) + wp.uint64(dimension + 1)) * GOLDEN)


@wp.func
def random_float(key: wp.uint64, index: int, dimension: int) -> float:
    """A uniform number in the open interval (0, 1)."""
    return (float(random_bits(key, index, dimension) >> wp.uint64(41)) + 0.5) * (1.0 / 8388608.0)


@wp.func
def random_triangle(table: SurfaceTable, key: wp.uint64, index: int) -> int:
    """A triangle chosen with probability proportional to its area."""
    share = wp.float64(random_bits(key, index, 0) >> wp.uint64(11)) * wp.float64(1.1102230246251565e-16)
    count = table.cumulative.shape[0]
    part = wp.min(int(share * wp.float64(count)), count - 1)
    triangle = int(table.guide[part])
    while triangle < count - 1 and table.cumulative[triangle] <= share:
        triangle += 1
    return triangle


@wp.func
def random_in_triangle(table: SurfaceTable, triangle: int, key: wp.uint64, index: int) -> wp.vec3:
    """A uniform point of a triangle."""
    a = table.positions[table.indices[3 * triangle]]
    b = table.positions[table.indices[3 * triangle + 1]]
    c = table.positions[table.indices[3 * triangle + 2]]
    u = random_float(key, index, 1)
    v = random_float(key, index, 2)
    if u + v > 1.0:
        u = 1.0 - u
        v = 1.0 - v
    return a + (b - a) * u + (c - a) * v


@wp.func
def random_offset(kind: int, width: float, key: wp.uint64, index: int, axis: int) -> float:
    """Offset of a point along an axis: logistic of scale `width`, or uniform in +-`width`."""
    u = random_float(key, index, 3 + axis)
    if kind == LOGISTIC:
        return width * wp.log(u / (1.0 - u))
    if kind == UNIFORM:
        return width * (2.0 * u - 1.0)
    return 0.0


@wp.kernel(enable_backward=False)
def surface_points(
    base: int,
    table: SurfaceTable,
    key: wp.uint64,
    kind: int,
    width: float,
    points: wp.array[wp.vec3],
    triangles: wp.array[int],
):
    """Draw points on the surface, moved by random offsets of a kind, and the triangles they were on."""
    i = base + wp.tid()
    triangle = random_triangle(table, key, i)
    point = random_in_triangle(table, triangle, key, i)
    offset = wp.vec3(
        random_offset(kind, width, key, i, 0),
        random_offset(kind, width, key, i, 1),
        random_offset(kind, width, key, i, 2),
    )
    points[i] = point + offset
    triangles[i] = triangle


@wp.kernel(enable_backward=False)
def box_points(base: int, key: wp.uint64, low: wp.vec3, high: wp.vec3, points: wp.array[wp.vec3]):
    """Draw points uniform in a box."""
    i = base + wp.tid()
    share = wp.vec3(random_float(key, i, 0), random_float(key, i, 1), random_float(key, i, 2))
    points[i] = low + wp.cw_mul(high - low, share)


@wp.kernel(enable_backward=False)
def draw_batch(
    base: int,
    table: SurfaceTable,
    key: wp.uint64,
    on_surface: int,
    near: int,
    pool_near: int,
    pool: wp.array[wp.vec3],
    pool_distances: wp.array[float],
    points: wp.array[wp.vec3],
    distances: wp.array[float],
):
    """Draw a batch: `on_surface` points with distance 0, then `near` of the pool's first `pool_near`, then others of the pool."""
    i = base + wp.tid()
    if i < on_surface:
        points[i] = random_in_triangle(table, random_triangle(table, key, i), key, i)
        distances[i] = 0.0
        return
    begin = int(0)
    end = int(pool_near)
    if i >= on_surface + near:
        begin = pool_near
        end = pool.shape[0]
    bits = random_bits(key, i, 0) >> wp.uint64(33)
    place = begin + int(bits % wp.uint64(end - begin))
    points[i] = pool[place]
    distances[i] = pool_distances[place]
