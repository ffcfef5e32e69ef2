"""The kernel that follows paths which a radiance cache cuts."""

import warp as wp

from nrc_tracer.cache.cut_policy import CutPolicy
from nrc_tracer.cache.records import COMPLETE, Records
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.path_loop import CutJob, path_loop
from nrc_tracer.tracer.sampler import sample_2d, sample_key
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.transport import KERNEL_OPTIONS, PathSettings, film_pixel

wp.set_module_options(KERNEL_OPTIONS)

# Pair of random dimensions of its own: which pixel of its tile a path starts from
PLACE = wp.constant((1 << 21) + 1)

cut_path = path_loop("cut_path", with_cuts=True)


@wp.kernel(enable_backward=False)
def trace_cut_paths(
    scene: SceneRecord,
    camera: CameraRecord,
    film: FilmRecord,
    settings: PathSettings,
    policy: CutPolicy,
    base: int,
    records: Records,
):
    """Follow path `base + tid`: a sample of that pixel, or of a pixel of its tile; paths beyond the last tile are empty."""
    path = base + wp.tid()
    sample = policy.sample[0]
    across = policy.tiles[0]
    down = policy.tiles[1]
    pixel = int(path)
    name = int(path)
    if across > 0:
        tile = path // policy.group
        if tile >= across * down:
            records.status[path] = COMPLETE
            records.count[path] = 0
            return
        u = sample_2d(sample_key(settings.sampler, settings.seed, tile, sample), PLACE)
        width = policy.size[0] / float(across)
        height = policy.size[1] / float(down)
        x = int((float(tile % across) + u[0]) * width)
        y = int((float(tile // across) + u[1]) * height)
        pixel = wp.min(y, int(policy.size[1]) - 1) * film.crop_width + wp.min(x, film.crop_width - 1)
    else:
        name = film_pixel(film, pixel)
    key = sample_key(settings.sampler, settings.seed, name, sample)
    job = CutJob()
    job.policy = policy
    job.records = records
    job.path = path
    cut_path(scene, camera, film, settings, pixel, key, job)
