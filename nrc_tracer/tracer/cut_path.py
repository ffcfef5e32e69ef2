"""Paths that are cut where the radiance cache can stand in for the rest, or where it shall learn: `nrc_tracer.cache.records`.

The same path as in `nrc_tracer.tracer.path`, with two differences. At each cut the path begins anew: what it gathers from there
on, and its throughput, are those of a path that starts at the cut. And where a lobe of delta functions is mixed with others, one
of the two is chosen first, with what that costs in noise: the cache holds what the others scatter, and is not asked for mirrors.
"""

import warp as wp

from nrc_tracer.cache.cut_policy import RENDER, TRAIN, CutPolicy
from nrc_tracer.cache.features import write_features
from nrc_tracer.cache.records import BROKEN, COMPLETE, IN_CACHE, Records
from nrc_tracer.cache.spread import clamped_cosine, has_spread, primary_area, spread_term
from nrc_tracer.tracer.accel.intersect import intersect
from nrc_tracer.tracer.bsdf.bsdf import delta_probability, sample_lobe
from nrc_tracer.tracer.bsdf.leaf import BELOW_ONE, map_shadowing
from nrc_tracer.tracer.bsdf.reflectance import lobe_reflectance
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.interaction import offset_origin, surface_at
from nrc_tracer.tracer.lights import FAR, background_emission, surface_emission
from nrc_tracer.tracer.sampler import SampleKey, fork_key, sample_2d, sample_key
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

# Pairs of random dimensions of their own: whether the path goes on beyond its cut, and which pixel it is of
GOES_ON = wp.constant(1 << 21)
PLACE = wp.constant((1 << 21) + 1)


@wp.func
def cut_path(
    scene: SceneRecord,
    camera: CameraRecord,
    film: FilmRecord,
    settings: PathSettings,
    policy: CutPolicy,
    records: Records,
    path: int,
    pixel: int,
    key: SampleKey,
):
    """Follow one path and record its segments."""
    first_row = path * records.capacity
    first_segment = path * (records.capacity + 1)
    records.status[path] = COMPLETE
    records.count[path] = 0
    records.length[path] = 0
    records.depth[path] = 0
    records.pixel[path] = pixel
    records.gathered[first_segment] = wp.vec3(0.0)
    if settings.max_depth == 0:
        return
    goes_on = sample_2d(key, GOES_ON)[0] < policy.continue_probability[0]
    ray = first_ray(camera, film, pixel, key)
    o = ray.o
    d = ray.d
    t_min = ray.t_min
    t_max = ray.t_max

    gathered = wp.vec3(0.0)  # since the last cut
    beta = wp.vec3(1.0)  # since the last cut
    carried = float(1.0)  # the largest component of the throughput to the last cut, for roulette
    eta = float(1.0)
    p_b = float(0.0)
    after_delta = int(1)
    previous = o
    depth = int(0)

    area = float(-1.0)  # a_0, once there is a first vertex that is no delta function
    root_area = float(0.0)  # root of the footprint
    travelled = float(0.0)
    p_scatter = float(0.0)  # density of the last direction; 0 after a delta function
    in_suffix = int(0)
    count = int(0)
    status = int(COMPLETE)
    while True:
        hit = intersect(scene.accel, o, d, t_min, t_max)

        # Add the background where the path escapes
        if hit.t < 0.0:
            gathered += wp.cw_mul(beta, weighted_emission(background_emission(scene.lights, d), p_b, after_delta))
            break
        it = surface_at(scene.surfaces, scene.accel, hit, o, d)
        travelled += wp.length(it.p - previous)

        # Add what the surface emits
        if it.light >= 0:
            e = surface_emission(scene.lights, scene.surfaces, scene.accel, scene.textures, it, previous, d)
            gathered += wp.cw_mul(beta, weighted_emission(e, p_b, after_delta))
        depth += 1
        if depth >= settings.max_depth:
            break

        # Find what scatters there
        v = vertex_at(scene, it, d, key, depth)
        if v.status == BREAKS:
            status = BROKEN
            break
        if v.status == ABSORBS:
            break
        if v.status == PASSES:
            after_delta = 1
            previous = it.p
            o = offset_origin(it.p, it.error, it.n, d)
            t_min = float(0.0)
            t_max = float(FAR)
            continue

        # Let the footprint grow by the segment that ends here
        cosine = clamped_cosine(it.n, d)
        if p_scatter > 0.0:
            root_area += spread_term(travelled, p_scatter, cosine)

        # Choose between delta functions and the rest
        first_pair = FIRST_VERTEX + (depth - 1) * PAIRS_PER_VERTEX
        u_end = sample_2d(key, first_pair + LOBE_AND_ROULETTE)
        p_delta = delta_probability(v.lobe, v.wo)
        is_delta = u_end[0] < p_delta
        if not is_delta:
            beta = beta / (1.0 - p_delta)
            if area < 0.0:
                area = primary_area(travelled, cosine)

            # Cut the path, and end it where the cache stands in for what comes
            is_cut = count == 0
            if policy.mode == RENDER:
                is_cut = is_cut and has_spread(root_area, area, policy.spread)
            ends = is_cut and not goes_on
            if policy.mode == TRAIN:
                ends = False
                if in_suffix == 0:
                    if has_spread(root_area, area, policy.spread):
                        in_suffix = 1
                        root_area = float(0.0)
                elif not goes_on:
                    ends = has_spread(root_area, area, policy.suffix_spread)
                is_cut = ends or count < records.capacity - 1  # the last one is kept for the end
            if is_cut:
                row = first_row + count
                r = lobe_reflectance(scene.materials.coat_tables, v.lobe, v.wo)
                write_features(
                    records.features, row, policy.box, it.p, -d, v.frame.n, r.roughness, r.diffuse, r.specular
                )
                records.throughput[row] = beta
                records.gathered[first_segment + count] = gathered
                if not all_finite(beta):
                    status = BROKEN
                    break
                if count == 0:
                    records.depth[path] = depth
                count += 1
                # Roulette plays for what the path is worth to a pixel; to training each of its records is worth the same
                if policy.mode == TRAIN:
                    eta = float(1.0)
                else:
                    carried *= max_component(beta)
                beta = wp.vec3(1.0)
                gathered = wp.vec3(0.0)
            if ends:
                status = IN_CACHE
                break
            # Go on another way, by the same lobes
            if is_cut and count == 1 and policy.continuation != 0:
                key = fork_key(key, policy.continuation)
                u = sample_2d(key, first_pair + LOBE_AND_ROULETTE)
                u_end = wp.vec2(wp.min(p_delta + (1.0 - p_delta) * u[0], BELOW_ONE), u[1])

        # Sample the BSDF
        bs = sample_lobe(scene.materials.coat_tables, v.lobe, v.wo, u_end[0], sample_2d(key, first_pair + DIRECTION))

        # Sample the light for direct illumination
        if scene.lights.count > 0 and not is_delta:
            gathered += wp.cw_mul(beta, direct_light(scene, it, v, key, first_pair))

        # Extend the path
        if bs.pdf <= 0.0:
            break
        beta = wp.cw_mul(beta, bs.weight)
        if not is_delta:
            beta *= 1.0 - p_delta
        if not all_finite(beta):
            status = BROKEN
            break
        eta *= bs.eta
        p_b = bs.pdf
        after_delta = bs.delta
        p_scatter = wp.where(is_delta, 0.0, bs.pdf)
        if area >= 0.0:
            travelled = float(0.0)
        previous = it.p
        d = to_world(v.frame, bs.wi)
        if v.is_mapped != 0:
            beta *= map_shadowing(v.unmapped_n, v.frame.n, d)
        o = offset_origin(it.p, it.error, it.n, d)
        t_min = float(0.0)
        t_max = float(FAR)

        # End the path at random where it carries little
        strength = max_component(beta) * carried
        if strength <= 0.0:
            break
        if depth >= settings.rr_depth:
            q = wp.min(strength * eta * eta, MAX_SURVIVAL)
            if u_end[1] >= q:
                break
            beta = beta / q
    records.gathered[first_segment + count] = gathered
    if not all_finite(gathered):
        status = BROKEN
    records.count[path] = count
    records.status[path] = status
    records.length[path] = depth


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
    """Follow path `base + tid`: a sample of that pixel, or of a tile of the film; beyond the last tile there is none."""
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
    cut_path(scene, camera, film, settings, policy, records, path, pixel, key)
