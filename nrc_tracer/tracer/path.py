"""The path tracer: one kernel that follows whole paths, the same source on the CPU and on CUDA."""

import warp as wp

from nrc_tracer.device.finite import all_finite
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.path_loop import path_loop
from nrc_tracer.tracer.sampler import sample_key
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.transport import KERNEL_OPTIONS, PathSettings, film_pixel

wp.set_module_options(KERNEL_OPTIONS)

path_radiance = path_loop("path_radiance", with_cuts=False)


@wp.kernel(enable_backward=False)
def trace_paths(
    scene: SceneRecord,
    camera: CameraRecord,
    film: FilmRecord,
    settings: PathSettings,
    first_sample: int,
    sample_count: int,
    base: int,
    sums: wp.array[wp.vec3d],
    squares: wp.array[wp.vec3d],
    dropped: wp.array[int],
):
    """Add samples `first_sample` .. `first_sample + sample_count - 1` to the pixel `base + tid`, which this thread owns."""
    pixel = base + wp.tid()
    total = sums[pixel]
    total_squares = squares[pixel]
    lost = dropped[pixel]
    number = film_pixel(film, pixel)
    for s in range(sample_count):
        key = sample_key(settings.sampler, settings.seed, number, first_sample + s)
        radiance = path_radiance(scene, camera, film, settings, pixel, key, 0)
        if all_finite(radiance):
            value = wp.vec3d(wp.float64(radiance[0]), wp.float64(radiance[1]), wp.float64(radiance[2]))
            total += value
            total_squares += wp.cw_mul(value, value)
        else:
            lost += 1
    sums[pixel] = total
    squares[pixel] = total_squares
    dropped[pixel] = lost
