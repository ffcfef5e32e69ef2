"""Environment maps: a lat-long image with bilinear interpolation, sampled in proportion to the interpolated luminance.

The image is cut into the patches between texel centres, in each of which the interpolated luminance is bilinear. The row and the
column of a patch are chosen by cumulative sums, the point in the patch by its bilinear density (PBRT, 4th ed., appendix A.5.4).
The density is exactly proportional to luminance times the sine of the polar angle at the patch's centre.
"""

import warp as wp

from nrc_tracer.device.constants import INV_2PI, INV_2PI2, INV_PI
from nrc_tracer.tracer.lights.light import Environment, LightRecord, LightSample


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
    y = uv[1] * float(env.height) + 0.5
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
def environment_radiance(env: Environment, w: wp.vec3) -> wp.vec3:
    """Radiance that arrives from world direction `w`."""
    at = patch_coordinates(env, environment_uv(env, w))
    i = int(at[0])
    j = int(at[1])
    top = env.texels[patch_corner(env, j - 1, i - 1)] * (1.0 - at[2]) + env.texels[patch_corner(env, j - 1, i)] * at[2]
    low = env.texels[patch_corner(env, j, i - 1)] * (1.0 - at[2]) + env.texels[patch_corner(env, j, i)] * at[2]
    return (top * (1.0 - at[3]) + low * at[3]) * env.scale


@wp.func
def environment_pdf_at(env: Environment, at: wp.vec4, sin_theta: float) -> float:
    """Density [1/sr] of sampling the point `at` (of `patch_coordinates`), whose polar angle has the sine `sin_theta`."""
    j = int(at[1])
    i = int(at[0]) % env.width
    l00 = env.luminance[patch_corner(env, j - 1, i - 1)]
    l10 = env.luminance[patch_corner(env, j - 1, i)]
    l01 = env.luminance[patch_corner(env, j, i - 1)]
    l11 = env.luminance[patch_corner(env, j, i)]
    mean = 0.25 * (l00 + l10 + l01 + l11)
    if mean <= 0.0 or sin_theta <= 0.0:
        return 0.0
    value = (l00 * (1.0 - at[2]) + l10 * at[2]) * (1.0 - at[3]) + (l01 * (1.0 - at[2]) + l11 * at[2]) * at[3]
    row = env.row_cdf[j + 1] - env.row_cdf[j]
    base = j * (env.width + 1)
    column = env.column_cdf[base + i + 1] - env.column_cdf[base + i]
    area = 1.0 / (float(env.width) * float(env.height))
    if j == 0 or j == env.height:
        area *= 0.5
    return row * column * value / (mean * area) * INV_2PI2 / sin_theta


@wp.func
def environment_pdf(env: Environment, light: LightRecord, w: wp.vec3) -> float:
    """Density [1/sr] with which `sample_environment` draws `w`."""
    uv = environment_uv(env, w)
    return light.probability * environment_pdf_at(env, patch_coordinates(env, uv), wp.sin(uv[1] * wp.PI))


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
def sample_linear(u: float, a: float, b: float) -> float:
    """Draw x in [0, 1] with density proportional to a (1 - x) + b x."""
    if a + b <= 0.0:
        return u
    return wp.min(u * (a + b) / (a + wp.sqrt(wp.max(0.0, a * a * (1.0 - u) + b * b * u))), 1.0)


@wp.func
def sample_environment(env: Environment, light: LightRecord, u: wp.vec2) -> LightSample:
    """Draw a direction in proportion to the map's interpolated luminance."""
    # Choose the patch, and rescale the random numbers to [0, 1] within it
    j = find_interval(env.row_cdf, 0, env.height + 1, u[1])
    base = j * (env.width + 1)
    i = find_interval(env.column_cdf, base, env.width, u[0])
    r0 = env.row_cdf[j]
    c0 = env.column_cdf[base + i]
    v = wp.clamp((u[1] - r0) / wp.max(env.row_cdf[j + 1] - r0, 1.0e-20), 0.0, 1.0)
    s = wp.clamp((u[0] - c0) / wp.max(env.column_cdf[base + i + 1] - c0, 1.0e-20), 0.0, 1.0)

    # Draw the point from the bilinear density
    l00 = env.luminance[patch_corner(env, j - 1, i - 1)]
    l10 = env.luminance[patch_corner(env, j - 1, i)]
    l01 = env.luminance[patch_corner(env, j, i - 1)]
    l11 = env.luminance[patch_corner(env, j, i)]
    t = sample_linear(v, l00 + l10, l01 + l11)
    s = sample_linear(s, l00 * (1.0 - t) + l01 * t, l10 * (1.0 - t) + l11 * t)

    # The patches at the poles are half as high and constant across
    y = (float(j) + t - 0.5) / float(env.height)
    if j == 0:
        y = 0.5 * t / float(env.height)
        t = 0.5 + 0.5 * t
    elif j == env.height:
        y = 1.0 - 0.5 * (1.0 - t) / float(env.height)
        t = 0.5 * t
    x = (float(i) + s - 0.5) / float(env.width)
    phi = wp.TAU * x
    theta = wp.PI * y
    sin_theta = wp.sin(theta)

    sample = LightSample()
    sample.wi = wp.transpose(env.to_local) @ wp.vec3(wp.sin(phi) * sin_theta, wp.cos(theta), -wp.cos(phi) * sin_theta)
    sample.pdf = light.probability * environment_pdf_at(env, wp.vec4(float(i), float(j), s, t), sin_theta)
    sample.radiance = environment_radiance(env, sample.wi)
    sample.distant = 1
    return sample
