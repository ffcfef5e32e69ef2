"""From a hit to a surface: position with error bounds, normals, texture coordinates; and rays that leave it safely."""

import warp as wp

from nrc_tracer.tracer.accel.intersect import AccelHandles, Hit
from nrc_tracer.tracer.sampling import Frame, frame_from_normal

# Flags of a shape
SMOOTH = wp.constant(1)  # has vertex normals
HAS_UV = wp.constant(2)
INWARD = wp.constant(4)  # a sphere whose normals point inwards

# gamma(7) of PBRT 4th ed., 6.8.5, bounds the interpolation of a hit point; doubled for the intersector's own rounding
POSITION_ERROR = wp.constant(2.0 * 7.0 * 5.9604645e-8)


@wp.struct
class ShapeRecord:
    """What the triangles of one shape, or one sphere, have in common."""

    material: int
    light: int  # light of its first triangle, or of the sphere; -1: does not shine
    first_triangle: int
    flags: int


@wp.struct
class Surfaces:
    """The geometry of a scene: all triangles in one buffer, all shapes."""

    positions: wp.array[wp.vec3]
    normals: wp.array[wp.vec3]
    uvs: wp.array[wp.vec2]
    triangles: wp.array[wp.vec3i]
    triangle_shape: wp.array[int]
    shapes: wp.array[ShapeRecord]


@wp.struct
class Interaction:
    """A point on a surface. `error` bounds the absolute error of each coordinate of `p`."""

    p: wp.vec3
    error: wp.vec3
    n: wp.vec3  # geometric normal, on the shading normal's side
    shading_n: wp.vec3
    dpdu: wp.vec3  # unnormalised; zero where there are no texture coordinates
    uv: wp.vec2
    shape: int
    light: int


@wp.func
def triangle_interaction(surfaces: Surfaces, hit: Hit) -> Interaction:
    """The surface at a hit on a triangle."""
    it = Interaction()
    it.shape = surfaces.triangle_shape[hit.index]
    shape = surfaces.shapes[it.shape]
    corners = surfaces.triangles[hit.index]
    p0 = surfaces.positions[corners[0]]
    p1 = surfaces.positions[corners[1]]
    p2 = surfaces.positions[corners[2]]
    b1 = hit.u
    b2 = hit.v
    b0 = 1.0 - b1 - b2
    it.p = p0 * b0 + p1 * b1 + p2 * b2
    it.error = (wp.abs(p0) * b0 + wp.abs(p1) * b1 + wp.abs(p2) * b2) * POSITION_ERROR
    e1 = p1 - p0
    e2 = p2 - p0
    it.n = wp.normalize(wp.cross(e1, e2))
    it.shading_n = it.n
    if (shape.flags & SMOOTH) != 0:
        n = surfaces.normals[corners[0]] * b0 + surfaces.normals[corners[1]] * b1 + surfaces.normals[corners[2]] * b2
        if wp.length_sq(n) > 1.0e-12:
            it.shading_n = wp.normalize(n)
            # The vertex normals say which side is the front
            if wp.dot(it.n, it.shading_n) < 0.0:
                it.n = -it.n
    it.uv = wp.vec2(b1, b2)
    if (shape.flags & HAS_UV) != 0:
        uv0 = surfaces.uvs[corners[0]]
        uv1 = surfaces.uvs[corners[1]]
        uv2 = surfaces.uvs[corners[2]]
        it.uv = uv0 * b0 + uv1 * b1 + uv2 * b2
        d1 = uv1 - uv0
        d2 = uv2 - uv0
        determinant = d1[0] * d2[1] - d1[1] * d2[0]
        if determinant != 0.0:
            it.dpdu = (e1 * d2[1] - e2 * d1[1]) / determinant
    it.light = -1
    if shape.light >= 0:
        it.light = shape.light + hit.index - shape.first_triangle
    return it


@wp.func
def sphere_interaction(surfaces: Surfaces, accel: AccelHandles, hit: Hit, o: wp.vec3, d: wp.vec3) -> Interaction:
    """The surface at a hit on an analytic sphere; the point is projected back onto it."""
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
    phi = wp.atan2(local[1], local[0]) * 0.15915494309189535
    it.uv = wp.vec2(wp.where(phi < 0.0, phi + 1.0, phi), wp.acos(wp.clamp(local[2], -1.0, 1.0)) * 0.3183098861837907)
    it.dpdu = wp.transpose(sphere.orientation) @ wp.vec3(-local[1], local[0], 0.0)
    it.light = shape.light
    return it


@wp.func
def shading_frame(it: Interaction, anisotropic: bool) -> Frame:
    """The frame in which scattering is computed; its tangent follows the texture's u where the lobe needs one."""
    if anisotropic:
        s = it.dpdu - it.shading_n * wp.dot(it.shading_n, it.dpdu)
        if wp.length_sq(s) > 1.0e-20:
            frame = Frame()
            frame.n = it.shading_n
            frame.s = wp.normalize(s)
            frame.t = wp.cross(frame.n, frame.s)
            return frame
    return frame_from_normal(it.shading_n)


@wp.func
def offset_origin(p: wp.vec3, error: wp.vec3, n: wp.vec3, w: wp.vec3) -> wp.vec3:
    """A ray origin outside the error box of `p`, on the side of `w` (PBRT, 4th ed., 6.8.6)."""
    distance = wp.dot(wp.abs(n), error)
    offset = n * distance
    if wp.dot(w, n) < 0.0:
        offset = -offset
    return p + offset
