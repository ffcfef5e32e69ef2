"""The point of a surface that a ray hits: position with error bounds, normals, texture coordinates, and origins of new rays."""

import warp as wp

from nrc_tracer.device.constants import INV_2PI, INV_PI
from nrc_tracer.tracer.accel.intersect import AccelHandles, Hit
from nrc_tracer.tracer.sampling import Frame, frame_from_normal
from nrc_tracer.tracer.textures import TexturePoint

# Flags of a shape
SMOOTH = wp.constant(1)  # has vertex normals
HAS_UV = wp.constant(2)
INWARD = wp.constant(4)  # a sphere whose normals point inwards
HAS_COLOR = wp.constant(8)  # has vertex colours

# gamma(7) bounds the rounding error of an interpolated hit point (PBRT, 4th ed., 6.8.5); doubled for the intersector's rounding
POSITION_ERROR = wp.constant(2.0 * 7.0 * 5.9604645e-8)
# The same bound for the distance of a plane from the origin of a ray, as a fraction of the distance to the hit
DISTANCE_ERROR = wp.constant(7.0 * 5.9604645e-8)


@wp.struct
class ShapeRecord:
    """Properties that all triangles of a shape share, or those of a sphere."""

    material: int
    light: int  # number of the light of its first triangle, or of the sphere; -1: does not emit
    first_triangle: int
    flags: int
    # Offsets from the indices of vertex normals to those of texture coordinates and colours, which instances share
    uv_offset: int
    color_offset: int


@wp.struct
class TriangleRecord:
    """A triangle in one cache line, so that a hit costs one fetch."""

    p0: wp.vec3
    p1: wp.vec3
    p2: wp.vec3
    n: wp.vec3  # unit normal of the winding
    corners: wp.vec3i  # indices of its vertices' normals; plus the shape's offsets: of texture coordinates and colours
    shape: int


@wp.struct
class Surfaces:
    """The geometry of a scene, the triangles of all shapes in one buffer."""

    triangles: wp.array[TriangleRecord]
    normals: wp.array[wp.vec3]
    uvs: wp.array[wp.vec2]
    colors: wp.array[wp.vec4]
    shapes: wp.array[ShapeRecord]


@wp.struct
class Interaction:
    """A point on a surface. `error` bounds the absolute error of each coordinate of `p`."""

    p: wp.vec3
    error: wp.vec3
    n: wp.vec3  # geometric normal, on the shading normal's side
    shading_n: wp.vec3
    dpdu: wp.vec3  # partial derivatives of `p` by u and v; zero without texture coordinates
    dpdv: wp.vec3
    uv: wp.vec2
    color: wp.vec4  # vertex colour, linear RGB and opacity; white without vertex colours
    shape: int
    light: int  # number of the light; -1: does not emit


@wp.func
def interpolation_error(triangle: TriangleRecord, b0: float, b1: float, b2: float) -> wp.vec3:
    """Bound on the absolute error of a point interpolated on a triangle (PBRT, 4th ed., 6.8.5)."""
    return (wp.abs(triangle.p0) * b0 + wp.abs(triangle.p1) * b1 + wp.abs(triangle.p2) * b2) * POSITION_ERROR


@wp.func
def smooth_normal(surfaces: Surfaces, triangle: TriangleRecord, b0: float, b1: float, b2: float) -> wp.vec3:
    """The unit normal interpolated from the vertices' normals; the triangle's own normal where those cancel out."""
    corners = triangle.corners
    n = surfaces.normals[corners[0]] * b0 + surfaces.normals[corners[1]] * b1 + surfaces.normals[corners[2]] * b2
    if wp.length_sq(n) > 1.0e-12:
        return wp.normalize(n)
    return triangle.n


@wp.func
def sphere_uv(orientation: wp.mat33, outward: wp.vec3) -> wp.vec2:
    """Texture coordinates of a sphere: (azimuth / 2 pi, polar angle / pi)."""
    local = orientation @ outward
    phi = wp.atan2(local[1], local[0]) * INV_2PI
    theta = wp.acos(wp.clamp(local[2], -1.0, 1.0))
    return wp.vec2(wp.where(phi < 0.0, phi + 1.0, phi), theta * INV_PI)


@wp.func
def triangle_interaction(surfaces: Surfaces, hit: Hit) -> Interaction:
    """The interaction at a hit on a triangle."""
    it = Interaction()
    triangle = surfaces.triangles[hit.index]
    it.shape = triangle.shape
    shape = surfaces.shapes[it.shape]
    b1 = hit.u
    b2 = hit.v
    b0 = 1.0 - b1 - b2
    it.p = triangle.p0 * b0 + triangle.p1 * b1 + triangle.p2 * b2
    it.error = interpolation_error(triangle, b0, b1, b2)
    it.n = triangle.n
    it.shading_n = it.n
    corners = triangle.corners
    if (shape.flags & SMOOTH) != 0:
        it.shading_n = smooth_normal(surfaces, triangle, b0, b1, b2)
        # The vertex normals decide which side is the front
        if wp.dot(it.n, it.shading_n) < 0.0:
            it.n = -it.n
    it.uv = wp.vec2(b1, b2)
    if (shape.flags & HAS_UV) != 0:
        uv0 = surfaces.uvs[corners[0] + shape.uv_offset]
        uv1 = surfaces.uvs[corners[1] + shape.uv_offset]
        uv2 = surfaces.uvs[corners[2] + shape.uv_offset]
        it.uv = uv0 * b0 + uv1 * b1 + uv2 * b2
        d1 = uv1 - uv0
        d2 = uv2 - uv0
        determinant = d1[0] * d2[1] - d1[1] * d2[0]
        if determinant != 0.0:
            e1 = triangle.p1 - triangle.p0
            e2 = triangle.p2 - triangle.p0
            it.dpdu = (e1 * d2[1] - e2 * d1[1]) / determinant
            it.dpdv = (e2 * d1[0] - e1 * d2[0]) / determinant
    it.color = wp.vec4(1.0)
    if (shape.flags & HAS_COLOR) != 0:
        it.color = (
            surfaces.colors[corners[0] + shape.color_offset] * b0
            + surfaces.colors[corners[1] + shape.color_offset] * b1
            + surfaces.colors[corners[2] + shape.color_offset] * b2
        )
    it.light = -1
    if shape.light >= 0:
        it.light = shape.light + hit.index - shape.first_triangle
    return it


@wp.func
def sphere_interaction(surfaces: Surfaces, accel: AccelHandles, hit: Hit, o: wp.vec3, d: wp.vec3) -> Interaction:
    """The interaction at a hit on an analytic sphere; the point is projected back onto the sphere."""
    it = Interaction()
    sphere = accel.spheres[hit.index]
    it.shape = sphere.shape
    shape = surfaces.shapes[it.shape]
    outward = wp.normalize(o + d * hit.t - sphere.center)
    it.p = sphere.center + outward * sphere.radius
    it.error = (wp.abs(sphere.center) + wp.abs(outward) * sphere.radius) * POSITION_ERROR
    it.n = outward
    if (shape.flags & INWARD) != 0:
        it.n = -outward
    it.shading_n = it.n
    local = sphere.orientation @ outward
    it.uv = sphere_uv(sphere.orientation, outward)
    to_object = wp.transpose(sphere.orientation) * (wp.PI * sphere.radius)
    it.dpdu = to_object @ wp.vec3(-2.0 * local[1], 2.0 * local[0], 0.0)
    across = wp.sqrt(local[0] * local[0] + local[1] * local[1])
    if across > 0.0:
        it.dpdv = to_object @ wp.vec3(local[2] * local[0] / across, local[2] * local[1] / across, -across)
    it.color = wp.vec4(1.0)
    it.light = shape.light
    return it


@wp.func
def surface_at(surfaces: Surfaces, accel: AccelHandles, hit: Hit, o: wp.vec3, d: wp.vec3) -> Interaction:
    """The interaction at a hit of the ray `o + t d`."""
    if hit.is_sphere != 0:
        return sphere_interaction(surfaces, accel, hit, o, d)
    return triangle_interaction(surfaces, hit)


@wp.func
def texture_point(it: Interaction) -> TexturePoint:
    """The coordinates at which the textures of the surface's material are looked up."""
    at = TexturePoint()
    at.uv = it.uv
    at.color = it.color
    return at


@wp.func
def frame_along(n: wp.vec3, dpdu: wp.vec3) -> Frame:
    """The frame around `n` whose tangent points along `dpdu`; an arbitrary tangent where `dpdu` is zero."""
    s = dpdu - n * wp.dot(n, dpdu)
    if wp.length_sq(s) > 1.0e-20:
        frame = Frame()
        frame.n = n
        frame.s = wp.normalize(s)
        frame.t = wp.cross(frame.n, frame.s)
        return frame
    return frame_from_normal(n)


@wp.func
def shading_frame(n: wp.vec3, dpdu: wp.vec3, anisotropic: bool) -> Frame:
    """The frame in which scattering is computed. Its tangent points along `dpdu` if the lobe is anisotropic."""
    if anisotropic:
        return frame_along(n, dpdu)
    return frame_from_normal(n)


@wp.func
def offset_origin(p: wp.vec3, error: wp.vec3, n: wp.vec3, w: wp.vec3) -> wp.vec3:
    """Move the origin of a ray along `w` off the surface at `p`, so that it does not hit the surface again.

    As in PBRT (4th ed., 6.8.6), but the distance is the largest of the three error bounds whatever the normal: on a plane
    through the scene's origin the coordinate across the plane has no error, and a ray from the plane would hit it at t = 0.
    """
    offset = n * wp.max(error[0], wp.max(error[1], error[2]))
    if wp.dot(w, n) < 0.0:
        offset = -offset
    return p + offset
