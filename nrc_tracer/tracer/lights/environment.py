"""Environment maps: a lat-long image with bilinear interpolation, sampled from a density that is constant or bilinear in cells.

The cells form a tree that is small enough for the processor's caches (`nrc_tracer.tracer.environment_tree`). A point is drawn by
choosing a row of blocks and a block by cumulative probabilities, then half after half of the block down to a cell. Each choice is
monotone in one of the two random numbers, so that stratified numbers give stratified points (Clarberg et al., *Wavelet Importance
Sampling*, 2005).
"""

import warp as wp

from nrc_tracer.device.constants import INV_2PI, INV_2PI2, INV_PI
from nrc_tracer.tracer.lights.light import Environment, LightSample

FLAT = wp.constant(-1)  # code of a cell with constant density
BELOW_ONE = wp.constant(1.0 - 2.0**-24)
SMALLEST = wp.constant(1.0e-20)


@wp.func
def patch_corner(env: Environment, row: int, column: int) -> int:
    """Index of a texel; rows are clamped at the poles, columns wrap around."""
    j = wp.clamp(row, 0, env.height - 1)
    i = column
    if i < 0:
        i += env.width
    if i >= env.width:
        i -= env.width
    return j * env.width + i


@wp.func
def patch_coordinates(env: Environment, uv: wp.vec2) -> wp.vec4:
    """Column and row of the patch at a point of the image, as floats, and the point's coordinates in the patch, in [0, 1]^2."""
    x = uv[0] * float(env.width) + 0.5
    y = uv[1] * float(env.bands) + env.row_shift
    i = wp.clamp(wp.floor(x), 0.0, float(env.width))
    j = wp.clamp(wp.floor(y), 0.0, float(env.height))
    return wp.vec4(i, j, wp.clamp(x - i, 0.0, 1.0), wp.clamp(y - j, 0.0, 1.0))


@wp.func
def environment_uv(env: Environment, w: wp.vec3) -> wp.vec2:
    """Image coordinates of a world direction."""
    d = env.to_local @ w
    u = wp.atan2(d[0], -d[2]) * INV_2PI
    if u < 0.0:
        u += 1.0
    return wp.vec2(u, wp.acos(wp.clamp(d[1], -1.0, 1.0)) * INV_PI)


@wp.func
def environment_radiance(env: Environment, uv: wp.vec2) -> wp.vec3:
    """Radiance that arrives from the direction whose image coordinates are `uv`."""
    at = patch_coordinates(env, uv)
    i = int(at[0])
    j = int(at[1])
    top = env.texels[patch_corner(env, j - 1, i - 1)] * (1.0 - at[2]) + env.texels[patch_corner(env, j - 1, i)] * at[2]
    low = env.texels[patch_corner(env, j, i - 1)] * (1.0 - at[2]) + env.texels[patch_corner(env, j, i)] * at[2]
    return (top * (1.0 - at[3]) + low * at[3]) * env.scale


@wp.func
def environment_pdf(env: Environment, uv: wp.vec2) -> float:
    """Density [1/sr] with which `sample_environment` draws the direction whose image coordinates are `uv`."""
    sin_theta = wp.sin(uv[1] * wp.PI)
    if sin_theta <= 0.0:
        return 0.0
    # Coordinates in half texels
    across = uv[0] * float(2 * env.width)
    down = uv[1] * float(2 * env.bands)
    x = wp.clamp(int(across), 0, 2 * env.width - 1)
    y = wp.clamp(int(down), 0, 2 * env.bands - 1)
    node = env.nodes[(y >> env.row_bits) * env.columns + (x >> env.column_bits)]
    x_bit = env.column_bits - 1
    y_bit = env.row_bits - 1
    while node.code >= 0:
        half = int(0)
        if (node.code & 1) != 0:
            half = (x >> x_bit) & 1
            x_bit -= 1
        else:
            half = (y >> y_bit) & 1
            y_bit -= 1
        node = env.nodes[(node.code >> 1) + half]
    density = node.value
    if node.code < FLAT:
        s = wp.clamp(across - float(x), 0.0, 1.0)
        density *= bilinear(env.corners[-2 - node.code], s, wp.clamp(down - float(y), 0.0, 1.0))
    return density * INV_2PI2 / sin_theta


@wp.func
def find_interval(cdf: wp.array[float], base: int, count: int, u: float) -> int:
    """The last i in [0, count) with cdf[base + i] <= u."""
    low = int(0)
    high = int(count)
    while high - low > 1:
        middle = (low + high) // 2
        if cdf[base + middle] <= u:
            low = middle
        else:
            high = middle
    return low


@wp.func
def rescaled(u: float, low: float, high: float) -> float:
    """Where `u` lies between `low` and `high`, in [0, 1)."""
    return wp.clamp((u - low) / wp.max(high - low, SMALLEST), 0.0, BELOW_ONE)


@wp.func
def bilinear(corners: wp.vec4, s: float, t: float) -> float:
    """Interpolate between the upper left, upper right, lower left and lower right corner."""
    return (corners[0] * (1.0 - s) + corners[1] * s) * (1.0 - t) + (corners[2] * (1.0 - s) + corners[3] * s) * t


@wp.func
def sample_linear(u: float, a: float, b: float) -> float:
    """Draw x in [0, 1] with density proportional to a (1 - x) + b x."""
    if a + b <= 0.0:
        return u
    return wp.min(u * (a + b) / (a + wp.sqrt(wp.max(0.0, a * a * (1.0 - u) + b * b * u))), 1.0)


@wp.func
def sample_environment(env: Environment, u: wp.vec2) -> LightSample:
    """Draw a direction. The radiance is looked up later, where the light turns out to be visible (`sampled_radiance`)."""
    # Choose a block
    row = find_interval(env.row_cdf, 0, env.rows, u[1])
    base = row * (env.columns + 1)
    column = find_interval(env.column_cdf, base, env.columns, u[0])
    v = rescaled(u[1], env.row_cdf[row], env.row_cdf[row + 1])
    s = rescaled(u[0], env.column_cdf[base + column], env.column_cdf[base + column + 1])

    # Choose half after half down to a cell
    width = float(1 << env.column_bits)
    height = float(1 << env.row_bits)
    x = float(column) * width
    y = float(row) * height
    node = env.nodes[row * env.columns + column]
    while node.code >= 0:
        half = int(0)
        if (node.code & 1) != 0:
            width *= 0.5
            if s < node.value:
                s = rescaled(s, 0.0, node.value)
            else:
                s = rescaled(s, node.value, 1.0)
                x += width
                half = 1
        else:
            height *= 0.5
            if v < node.value:
                v = rescaled(v, 0.0, node.value)
            else:
                v = rescaled(v, node.value, 1.0)
                y += height
                half = 1
        node = env.nodes[(node.code >> 1) + half]
    density = node.value

    # In a bilinear cell draw the row, then the point in the row (PBRT, 4th ed., A.5.4)
    if node.code < FLAT:
        c = env.corners[-2 - node.code]
        v = sample_linear(v, c[0] + c[1], c[2] + c[3])
        s = sample_linear(s, c[0] * (1.0 - v) + c[2] * v, c[1] * (1.0 - v) + c[3] * v)
        density *= bilinear(c, s, v)

    uv = wp.vec2((x + s * width) / float(2 * env.width), (y + v * height) / float(2 * env.bands))
    phi = wp.TAU * uv[0]
    theta = wp.PI * uv[1]
    sin_theta = wp.sin(theta)
    sample = LightSample()
    sample.wi = wp.transpose(env.to_local) @ wp.vec3(wp.sin(phi) * sin_theta, wp.cos(theta), -wp.cos(phi) * sin_theta)
    sample.p = wp.vec3(uv[0], uv[1], 0.0)
    if sin_theta > 0.0:
        sample.pdf = density * INV_2PI2 / sin_theta
    sample.radiance = wp.vec3(1.0)
    sample.distant = 1
    sample.mapped = 1
    return sample
