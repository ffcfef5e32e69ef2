"""Cameras: from a point of the film and of the lens to a ray. And the film's reconstruction filters, sampled by importance."""

import warp as wp

from nrc_tracer.tracer.sampling import concentric_disk
from nrc_tracer.tracer.vocabulary import CameraKind, FilterKind

ORTHOGRAPHIC = wp.constant(int(CameraKind.ORTHOGRAPHIC))
TENT = wp.constant(int(FilterKind.TENT))
GAUSSIAN = wp.constant(int(FilterKind.GAUSSIAN))


@wp.struct
class CameraRecord:
    """A camera: `left`, `up` and `forward` are unit vectors; extents are half sizes of the image at distance 1."""

    kind: int
    origin: wp.vec3
    left: wp.vec3
    up: wp.vec3
    forward: wp.vec3
    extent: wp.vec2
    shift: wp.vec2  # principal point offset, in image widths and heights
    aperture_radius: float
    focus_distance: float
    near: float
    far: float


@wp.struct
class FilmRecord:
    """The film: full size, and the crop window that is rendered."""

    size: wp.vec2
    crop_x: int
    crop_y: int
    crop_width: int
    filter: int
    filter_radius: float
    filter_sigma: float


@wp.struct
class CameraRay:
    """A ray `o + t d` from the camera, to be followed for t in (t_min, t_max)."""

    o: wp.vec3
    d: wp.vec3
    t_min: float
    t_max: float


@wp.func
def filter_offset(film: FilmRecord, u: float) -> float:
    """Draw a distance from the pixel's centre [pixels] in proportion to the filter."""
    if film.filter == TENT:
        if u < 0.5:
            return film.filter_radius * (wp.sqrt(2.0 * u) - 1.0)
        return film.filter_radius * (1.0 - wp.sqrt(2.0 * (1.0 - u)))
    if film.filter == GAUSSIAN:
        scale = 1.4142135623730951 * film.filter_sigma
        edge = wp.erf(film.filter_radius / scale)
        return wp.clamp(scale * wp.erfinv(edge * (2.0 * u - 1.0)), -film.filter_radius, film.filter_radius)
    return film.filter_radius * (2.0 * u - 1.0)


@wp.func
def camera_ray(camera: CameraRecord, film: FilmRecord, pixel: int, u_film: wp.vec2, u_lens: wp.vec2) -> CameraRay:
    """The ray through a random point of pixel number `pixel` of the crop window."""
    x = float(film.crop_x + pixel % film.crop_width) + 0.5 + filter_offset(film, u_film[0])
    y = float(film.crop_y + pixel // film.crop_width) + 0.5 + filter_offset(film, u_film[1])
    left = (1.0 - 2.0 * (x / film.size[0] + camera.shift[0])) * camera.extent[0]
    up = (1.0 - 2.0 * (y / film.size[1] + camera.shift[1])) * camera.extent[1]
    ray = CameraRay()
    if camera.kind == ORTHOGRAPHIC:
        ray.o = camera.origin + camera.left * left + camera.up * up
        ray.d = camera.forward
        ray.t_min = camera.near
        ray.t_max = camera.far
        return ray
    ray.o = camera.origin
    d = camera.left * left + camera.up * up + camera.forward
    if camera.aperture_radius > 0.0:
        lens = concentric_disk(u_lens) * camera.aperture_radius
        offset = camera.left * lens[0] + camera.up * lens[1]
        ray.o += offset
        d = d - offset / camera.focus_distance
    length = wp.length(d)
    ray.d = d / length
    ray.t_min = camera.near * length
    ray.t_max = camera.far * length
    return ray
