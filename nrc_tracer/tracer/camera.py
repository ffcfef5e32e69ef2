"""Cameras: from a point on the film and a point on the lens to a ray; and importance sampling of the reconstruction filter."""

import warp as wp

from nrc_tracer.tracer.sampling import concentric_disk
from nrc_tracer.tracer.vocabulary import CameraKind, FilterKind

ORTHOGRAPHIC = wp.constant(int(CameraKind.ORTHOGRAPHIC))
TENT = wp.constant(int(FilterKind.TENT))
GAUSSIAN = wp.constant(int(FilterKind.GAUSSIAN))


@wp.struct
class CameraRecord:
    """A camera. `left`, `up` and `forward` are unit vectors."""

    kind: int  # a `CameraKind`
    origin: wp.vec3
    left: wp.vec3
    up: wp.vec3
    forward: wp.vec3
    extent: wp.vec2  # half width and half height of the image at distance 1
    shift: wp.vec2  # principal point offset [image widths and heights]
    aperture_radius: float  # of the lens; 0: pinhole
    focus_distance: float
    near: float  # clipping distances along the axis
    far: float


@wp.struct
class FilmRecord:
    """The film: its full size, and the crop window that is rendered, all in pixels."""

    size: wp.vec2
    crop_x: int
    crop_y: int
    crop_width: int
    filter: int  # a `FilterKind`
    filter_radius: float
    filter_sigma: float


@wp.struct
class CameraRay:
    """A camera ray `o + t d` with t in (t_min, t_max)."""

    o: wp.vec3
    d: wp.vec3
    t_min: float
    t_max: float


@wp.func
def filter_offset(film: FilmRecord, u: float) -> float:
    """Draw an offset from the pixel's centre [pixels] with a density proportional to the filter."""
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
    """The ray through a random point of pixel `pixel` of the crop window. `u_film` and `u_lens` are random in [0, 1)^2."""
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
