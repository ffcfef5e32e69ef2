"""Triangles that emit light: a point is drawn uniformly on the triangle."""

import warp as wp

from nrc_tracer.tracer.interaction import (
    DISTANCE_ERROR,
    HAS_UV,
    SMOOTH,
    interpolation_error,
    offset_origin,
    smooth_normal,
)
from nrc_tracer.tracer.lights.light import LightRecord, LightSample, area_pdf
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.textures import evaluate_image


@wp.func
def sample_triangle(scene: SceneRecord, light: LightRecord, p: wp.vec3, u: wp.vec2) -> LightSample:
    """Draw a point of the triangle (Heitz, *A Low-Distortion Map Between Triangle and Square*, 2019)."""
    s = LightSample()
    surfaces = scene.surfaces
    triangle = surfaces.triangles[light.index]
    b0 = 0.5 * u[0]
    b1 = u[1] - b0
    if u[0] >= u[1]:
        b1 = 0.5 * u[1]
        b0 = u[0] - b1
    b2 = 1.0 - b0 - b1
    q = triangle.p0 * b0 + triangle.p1 * b1 + triangle.p2 * b2
    n = triangle.n
    shape = surfaces.shapes[triangle.shape]
    corners = triangle.corners
    if (shape.flags & SMOOTH) != 0 and wp.dot(n, smooth_normal(surfaces, triangle, b0, b1, b2)) < 0.0:
        n = -n
    to_light = q - p
    d2 = wp.length_sq(to_light)
    if d2 == 0.0:
        return s
    s.wi = to_light / wp.sqrt(d2)
    cos_l = -wp.dot(n, s.wi)
    if cos_l <= 0.0:
        return s
    uv = wp.vec2(b1, b2)
    if (shape.flags & HAS_UV) != 0:
        first = shape.uv_offset
        uv = (
            surfaces.uvs[corners[0] + first] * b0
            + surfaces.uvs[corners[1] + first] * b1
            + surfaces.uvs[corners[2] + first] * b2
        )
    s.radiance = evaluate_image(scene.textures, light.emission, uv)
    s.pdf = area_pdf(light, d2, cos_l)
    error = interpolation_error(triangle, b0, b1, b2) + wp.vec3(wp.sqrt(d2) * DISTANCE_ERROR)
    s.p = offset_origin(q, error, n, -s.wi)
    return s


@wp.func
def triangle_pdf(light: LightRecord, p: wp.vec3, q: wp.vec3, cos_l: float) -> float:
    """Density [1/sr] with which `sample_triangle` draws the direction from `p` to the point `q` of the triangle."""
    return area_pdf(light, wp.length_sq(q - p), cos_l)
