"""Warp kernels from pixels of photographs to rays in unit-cube space; `PhotoCamera.directions` is their NumPy twin."""

import enum

import warp as wp

wp.set_module_options({"enable_backward": False})


class Lens(enum.IntEnum):
    """A lens model; see `PhotoCamera`."""

    PINHOLE = 0
    OPENCV = 1
    FISHEYE = 2


OPENCV = wp.constant(int(Lens.OPENCV))
FISHEYE = wp.constant(int(Lens.FISHEYE))
ITERATIONS = wp.constant(10)
"""Most Newton steps for undoing a distortion; for real lenses the result is exact to float32 after three to five."""
CLOSE = wp.constant(1.0e-7)
"""Residual at depth 1 at which Newton's method stops: a ten-thousandth of a pixel at a focal length of 1000."""


@wp.struct
class ViewRecord:
    """A view, for kernels.

    Attributes:
        width: Width of the image in pixels.
        lens: Lens model, one of `Lens`.
        focal: fx, fy.
        center: cx, cy.
        radial: k1, k2, k3, k4.
        tangential: p1, p2.
        axes: Camera-to-world rotation.
        origin: The camera's position in unit-cube space.
    """

    width: wp.int32
    lens: wp.int32
    focal: wp.vec2
    center: wp.vec2
    radial: wp.vec4
    tangential: wp.vec2
    axes: wp.mat33
    origin: wp.vec3


@wp.func
def undistort(x: wp.vec2, k: wp.vec4, p: wp.vec2) -> wp.vec2:
    """The point that the lens maps to `x`, by Newton's method; the best of the points tried if there is none."""
    u = x
    best = x
    least = float(1.0e30)
    for _ in range(ITERATIONS):
        a = u[0]
        b = u[1]
        r2 = a * a + b * b
        factor = 1.0 + r2 * (k[0] + r2 * (k[1] + r2 * (k[2] + r2 * k[3])))
        slope = k[0] + r2 * (2.0 * k[1] + r2 * (3.0 * k[2] + r2 * 4.0 * k[3]))
        fa = a * factor + 2.0 * p[0] * a * b + p[1] * (r2 + 2.0 * a * a) - x[0]
        fb = b * factor + 2.0 * p[1] * a * b + p[0] * (r2 + 2.0 * b * b) - x[1]
        size = wp.sqrt(fa * fa + fb * fb)
        if size < least:
            least = size
            best = u
        if not size > CLOSE:
            break
        aa = factor + 2.0 * a * a * slope + 2.0 * p[0] * b + 6.0 * p[1] * a
        bb = factor + 2.0 * b * b * slope + 2.0 * p[1] * a + 6.0 * p[0] * b
        ab = 2.0 * a * b * slope + 2.0 * p[0] * a + 2.0 * p[1] * b
        determinant = aa * bb - ab * ab
        if wp.abs(determinant) < 1.0e-6:
            break
        step = wp.vec2(bb * fa - ab * fb, aa * fb - ab * fa) / determinant
        # Limit steps to half the distance from the axis: beyond the fold of a polynomial there are other solutions
        longest = 0.5 * wp.sqrt(r2) + 0.05
        length = wp.length(step)
        if length > longest:
            step = step * (longest / length)
        u = u - step
    return best


@wp.func
def fisheye_angle(radius: float, k: wp.vec4) -> float:
    """The angle from the axis that the lens maps to a radius."""
    angle = wp.min(radius, wp.PI)
    best = angle
    least = float(1.0e30)
    for _ in range(ITERATIONS):
        t2 = angle * angle
        residual = angle * (1.0 + t2 * (k[0] + t2 * (k[1] + t2 * (k[2] + t2 * k[3])))) - radius
        if wp.abs(residual) < least:
            least = wp.abs(residual)
            best = angle
        slope = 1.0 + t2 * (3.0 * k[0] + t2 * (5.0 * k[1] + t2 * (7.0 * k[2] + t2 * 9.0 * k[3])))
        if not wp.abs(residual) > CLOSE or wp.abs(slope) < 1.0e-6:
            break
        longest = 0.5 * angle + 0.05
        angle = wp.clamp(angle - wp.clamp(residual / slope, -longest, longest), 0.0, wp.PI)
    return best


@wp.func
def direction_of(view: ViewRecord, column: float, row: float) -> wp.vec3:
    """The unit direction through a point of the image, in pixels."""
    x = wp.vec2((column - view.center[0]) / view.focal[0], (row - view.center[1]) / view.focal[1])
    if view.lens == FISHEYE:
        radius = wp.length(x)
        angle = fisheye_angle(radius, view.radial)
        sideways = float(1.0)
        if radius > 0.0:
            sideways = wp.sin(angle) / radius
        return wp.normalize(view.axes * wp.vec3(x[0] * sideways, -x[1] * sideways, -wp.cos(angle)))
    if view.lens == OPENCV:
        x = undistort(x, view.radial, view.tangential)
    return wp.normalize(view.axes * wp.vec3(x[0], -x[1], -1.0))


@wp.func
def turned(d: wp.vec3, rotation: wp.vec3) -> wp.vec3:
    """`d` rotated about the axis `rotation` by its length, in radians (Rodrigues)."""
    angle = wp.length(rotation)
    if angle < 1.0e-8:
        return d + wp.cross(rotation, d)
    axis = rotation / angle
    return d * wp.cos(angle) + wp.cross(axis, d) * wp.sin(angle) + axis * (wp.dot(axis, d) * (1.0 - wp.cos(angle)))


@wp.kernel
def rays_of_pixels(
    base: int,
    views: wp.array[ViewRecord],
    firsts: wp.array[int],
    view_count: int,
    table: wp.array2d[wp.uint8],
    channels: int,
    pixels: wp.array[int],
    places: wp.array2d[float],
    poses: wp.array2d[float],
    corrected: int,
    origins: wp.array2d[float],
    directions: wp.array2d[float],
    colors: wp.array2d[float],
    numbers: wp.array[int],
):
    """Make the ray and read the colour of pixel `pixels[i]` of the table, through `places[i]` in [0, 1]^2 within the pixel.

    `firsts` are the numbers of the views' first pixels.
    """
    i = base + wp.tid()
    pixel = pixels[i]
    low = int(0)
    high = int(view_count)
    while high - low > 1:
        middle = (low + high) // 2
        if firsts[middle] <= pixel:
            low = middle
        else:
            high = middle
    view = views[low]
    within = pixel - firsts[low]
    row = within // view.width
    column = within - row * view.width
    d = direction_of(view, float(column) + places[i, 0], float(row) + places[i, 1])
    o = view.origin
    if corrected != 0:
        d = wp.normalize(turned(d, wp.vec3(poses[low, 0], poses[low, 1], poses[low, 2])))
        o = o + wp.vec3(poses[low, 3], poses[low, 4], poses[low, 5])
    for c in range(3):
        origins[i, c] = o[c]
        directions[i, c] = d[c]
        colors[i, c] = float(table[pixel, c]) / 255.0
    colors[i, 3] = 1.0
    if channels == 4:
        colors[i, 3] = float(table[pixel, 3]) / 255.0
    numbers[i] = low


@wp.kernel
def rays_of_view(
    base: int,
    views: wp.array[ViewRecord],
    first_row: int,
    columns: int,
    step: int,
    origins: wp.array2d[float],
    directions: wp.array2d[float],
):
    """Make the rays through the centres of every `step`-th pixel of a view's rows, from `first_row` on, `columns` in a row."""
    i = base + wp.tid()
    view = views[0]
    row = i // columns
    column = i - row * columns
    d = direction_of(view, float(column * step) + 0.5, float(first_row + row * step) + 0.5)
    for c in range(3):
        origins[i, c] = view.origin[c]
        directions[i, c] = d[c]
