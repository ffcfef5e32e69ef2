"""The path tracer: one kernel that follows whole paths, the same source on the CPU and on CUDA."""

import warp as wp

from nrc_tracer.tracer.accel.intersect import intersect
from nrc_tracer.tracer.bsdf.bsdf import sample_lobe
from nrc_tracer.tracer.bsdf.leaf import map_shadowing
from nrc_tracer.tracer.bsdf.lobe import has_smooth_part
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.interaction import offset_origin, surface_at
from nrc_tracer.tracer.lights import FAR, background_emission, surface_emission
from nrc_tracer.tracer.sampler import SampleKey, sample_2d, sample_key
from nrc_tracer.tracer.sampling import max_component, to_world
from nrc_tracer.tracer.transport import (
    ABSORBS,
    BREAKS,
    DIRECTION,
    FIRST_VERTEX,
    KERNEL_OPTIONS,
    LOBE_AND_ROULETTE,
    MAX_SURVIVAL,
    PAIRS_PER_VERTEX,
    PASSES,
    PathSettings,
    SceneRecord,
    all_finite,
    direct_light,
    film_pixel,
    first_ray,
    vertex_at,
    weighted_emission,
)

wp.set_module_options(KERNEL_OPTIONS)


@wp.func
def path_radiance(
    scene: SceneRecord, camera: CameraRecord, film: FilmRecord, settings: PathSettings, pixel: int, key: SampleKey
) -> wp.vec3:
    """Radiance along one path from the camera, with next-event estimation and multiple importance sampling throughout."""
    radiance = wp.vec3(0.0)
    if settings.max_depth == 0:
        return radiance
    ray = first_ray(camera, film, pixel, key)
    o = ray.o
    d = ray.d
    t_min = ray.t_min
    t_max = ray.t_max

    beta = wp.vec3(1.0)
    eta = float(1.0)  # product of the index ratios along the path, which roulette must not mistake for absorption
    p_b = float(0.0)
    after_delta = int(1)  # the camera counts as one: only the BSDF could have found what is seen
    previous = o
    depth = int(0)
    while True:
        hit = intersect(scene.accel, o, d, t_min, t_max)

        # Add the background where the path escapes
        if hit.t < 0.0:
            radiance += wp.cw_mul(beta, weighted_emission(background_emission(scene.lights, d), p_b, after_delta))
            break
        it = surface_at(scene.surfaces, scene.accel, hit, o, d)

        # Add what the surface emits
        if it.light >= 0:
            e = surface_emission(scene.lights, scene.surfaces, scene.accel, scene.textures, it, previous, d)
            radiance += wp.cw_mul(beta, weighted_emission(e, p_b, after_delta))
        depth += 1
        if depth >= settings.max_depth:
            break

        # Find what scatters there
        v = vertex_at(scene, it, d, key, depth)
        if v.status == BREAKS:
            return wp.vec3(wp.NAN)
        if v.status == ABSORBS:
            break
        if v.status == PASSES:
            # Go straight on. To what comes next this is a delta function: shadow rays did not get through
            after_delta = 1
            previous = it.p
            o = offset_origin(it.p, it.error, it.n, d)
            t_min = float(0.0)
            t_max = float(FAR)
            continue

        # Sample the BSDF. Here already: while the processor waits for one sample's arithmetic it can do the other's
        first_pair = FIRST_VERTEX + (depth - 1) * PAIRS_PER_VERTEX
        u_end = sample_2d(key, first_pair + LOBE_AND_ROULETTE)
        bs = sample_lobe(scene.materials.coat_tables, v.lobe, v.wo, u_end[0], sample_2d(key, first_pair + DIRECTION))

        # Sample the light for direct illumination
        if scene.lights.count > 0 and has_smooth_part(v.lobe.kind):
            radiance += wp.cw_mul(beta, direct_light(scene, it, v, key, first_pair))

        # Extend the path
        if bs.pdf <= 0.0:
            break
        beta = wp.cw_mul(beta, bs.weight)
        if not all_finite(beta):
            return beta
        eta *= bs.eta
        p_b = bs.pdf
        after_delta = bs.delta
        previous = it.p
        d = to_world(v.frame, bs.wi)
        if v.is_mapped != 0:
            beta *= map_shadowing(v.unmapped_n, v.frame.n, d)
        o = offset_origin(it.p, it.error, it.n, d)
        t_min = float(0.0)
        t_max = float(FAR)

        # End the path at random where it carries little
        strength = max_component(beta)
        if strength <= 0.0:
            break
        if depth >= settings.rr_depth:
            q = wp.min(strength * eta * eta, MAX_SURVIVAL)
            if u_end[1] >= q:
                break
            beta = beta / q
    return radiance


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
        radiance = path_radiance(scene, camera, film, settings, pixel, key)
        if all_finite(radiance):
            value = wp.vec3d(wp.float64(radiance[0]), wp.float64(radiance[1]), wp.float64(radiance[2]))
            total += value
            total_squares += wp.cw_mul(value, value)
        else:
            lost += 1
    sums[pixel] = total
    squares[pixel] = total_squares
    dropped[pixel] = lost
