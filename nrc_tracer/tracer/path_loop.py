"""The loop of the path tracer, written once and built twice: for whole paths, and for paths that a radiance cache cuts.

Paths use next-event estimation and multiple importance sampling at every vertex, and Russian roulette by throughput. A path with
cuts (`nrc_tracer.cache.records`) differs in two ways. At each cut it starts anew: radiance and throughput after the cut are those
of a path that begins there. And where a lobe has both a delta function and a smooth part, the path chooses one of them before it
samples, which adds some noise: the cache predicts only what the smooth part scatters.

Code that only one variant needs is in branches on `wp.static`, which Warp leaves out of the other variant altogether.
"""

from typing import Any

import warp as wp

from nrc_tracer.cache.cut_policy import RENDER, TRAIN, CutPolicy
from nrc_tracer.cache.features import write_features
from nrc_tracer.cache.records import BROKEN, COMPLETE, IN_CACHE, Records
from nrc_tracer.cache.spread import clamped_cosine, has_spread, primary_area, spread_term
from nrc_tracer.device.finite import all_finite
from nrc_tracer.tracer.accel.intersect import FAR, intersect
from nrc_tracer.tracer.bsdf.bsdf import delta_probability, sample_lobe
from nrc_tracer.tracer.bsdf.leaf import BELOW_ONE, map_shadowing
from nrc_tracer.tracer.bsdf.lobe import has_smooth_part
from nrc_tracer.tracer.bsdf.reflectance import lobe_reflectance
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.interaction import offset_origin, surface_at
from nrc_tracer.tracer.lights.lights import background_emission, surface_emission
from nrc_tracer.tracer.sampler import SampleKey, fork_key, sample_2d
from nrc_tracer.tracer.sampling import max_component, to_world
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.transport import (
    ABSORBS,
    BREAKS,
    DIRECTION,
    FIRST_VERTEX,
    LOBE_AND_ROULETTE,
    MAX_SURVIVAL,
    PAIRS_PER_VERTEX,
    PASSES,
    PathSettings,
    direct_light,
    first_ray,
    lit_normal,
    vertex_at,
    weighted_emission,
)

# Pair of random dimensions of its own: whether the path continues beyond its cut
CONTINUES = wp.constant(1 << 21)


@wp.struct
class CutJob:
    """Where one path is cut, and where its records go."""

    policy: CutPolicy
    records: Records
    path: int  # row of the path in `records`


def path_loop(name: str, *, with_cuts: bool) -> wp.Function:
    """Build the function that follows one path from the camera.

    Args:
        name: Name of the function in generated code.
        with_cuts: Whether the path is cut and leaves records; then the last argument of the function is a `CutJob`, else an
            integer that is not read.

    Returns:
        A function of (scene, camera, film, settings, pixel, key, job). It returns the radiance that the path gathered since its
        last cut; of a path that met a value which is not finite, that radiance is not finite either.
    """

    @wp.func(name=name)
    def follow(
        scene: SceneRecord,
        camera: CameraRecord,
        film: FilmRecord,
        settings: PathSettings,
        pixel: int,
        key: SampleKey,
        job: Any,
    ) -> wp.vec3:
        gathered = wp.vec3(0.0)  # radiance since the camera or the last cut
        beta = wp.vec3(1.0)  # throughput since the camera or the last cut
        eta = float(1.0)  # product of the index ratios along the path: roulette must not take refraction for absorption
        p_b = float(0.0)
        after_delta = int(1)  # the camera counts as a delta function: light sampling could not have found what it sees
        depth = int(0)

        if wp.static(with_cuts):
            policy = job.policy
            records = job.records
            path = job.path
            first_row = path * records.capacity
            first_segment = path * (records.capacity + 1)
            records.status[path] = COMPLETE
            records.count[path] = 0
            records.length[path] = 0
            records.depth[path] = 0
            records.pixel[path] = pixel
            records.gathered[first_segment] = wp.vec3(0.0)
            carried = float(1.0)  # largest component of the throughput up to the last cut, for roulette
            area = float(-1.0)  # footprint a_0 of the first vertex with a smooth part; negative before it
            root_area = float(0.0)  # square root of the footprint's area
            travelled = float(0.0)  # distance since the last vertex with a smooth part
            p_scatter = float(0.0)  # density of the last sampled direction; 0 after a delta function
            in_suffix = int(0)
            count = int(0)
            status = int(COMPLETE)

        if settings.max_depth == 0:
            return gathered
        if wp.static(with_cuts):
            continues = sample_2d(key, CONTINUES)[0] < policy.continue_probability[0]
        ray = first_ray(camera, film, pixel, key)
        o = ray.o
        d = ray.d
        t_min = ray.t_min
        t_max = ray.t_max
        previous = o
        previous_n = wp.vec3(0.0)
        while True:
            hit = intersect(scene.accel, o, d, t_min, t_max)

            # Add the background where the path escapes
            if hit.t < 0.0:
                gathered += wp.cw_mul(beta, weighted_emission(background_emission(scene, d), p_b, after_delta))
                break
            it = surface_at(scene.surfaces, scene.accel, hit, o, d)
            if wp.static(with_cuts):
                travelled += wp.length(it.p - previous)

            # Add what the surface emits
            if it.light >= 0:
                e = surface_emission(scene, it, previous, previous_n, d, after_delta == 0)
                gathered += wp.cw_mul(beta, weighted_emission(e, p_b, after_delta))
            depth += 1
            if depth >= settings.max_depth:
                break

            # Find the lobe that scatters
            v = vertex_at(scene, it, d, key, depth)
            if v.status == BREAKS:
                gathered = wp.vec3(wp.NAN)
                break
            if v.status == ABSORBS:
                break
            if v.status == PASSES:
                # Go straight on. Like a delta function: shadow rays through this surface were blocked
                after_delta = 1
                previous = it.p
                o = offset_origin(it.p, it.error, it.n, d)
                t_min = float(0.0)
                t_max = float(FAR)
                continue

            first_pair = FIRST_VERTEX + (depth - 1) * PAIRS_PER_VERTEX
            u_end = sample_2d(key, first_pair + LOBE_AND_ROULETTE)
            is_delta = not has_smooth_part(v.lobe.kind)
            if wp.static(with_cuts):
                # Add the segment that ends here to the footprint
                cosine = clamped_cosine(it.n, d)
                if p_scatter > 0.0:
                    root_area += spread_term(travelled, p_scatter, cosine)

                # Choose between the delta function and the smooth part
                p_delta = delta_probability(v.lobe, v.wo)
                is_delta = u_end[0] < p_delta
                if not is_delta:
                    beta = beta / (1.0 - p_delta)
                    if area < 0.0:
                        area = primary_area(travelled, cosine)

                    # Cut the path, and end it where the cache's prediction replaces the rest
                    is_cut = count == 0
                    if policy.mode == RENDER:
                        is_cut = is_cut and has_spread(root_area, area, policy.spread)
                    ends = is_cut and not continues
                    if policy.mode == TRAIN:
                        ends = False
                        if in_suffix == 0:
                            if has_spread(root_area, area, policy.spread):
                                in_suffix = 1
                                root_area = float(0.0)
                        elif not continues:
                            ends = has_spread(root_area, area, policy.suffix_spread)
                        is_cut = ends or count < records.capacity - 1  # the last row is reserved for the end
                    if is_cut:
                        row = first_row + count
                        r = lobe_reflectance(scene.materials.coat_tables, v.lobe, v.wo)
                        write_features(
                            records.features, row, policy.box, it.p, -d, v.frame.n, r.roughness, r.diffuse, r.specular
                        )
                        records.throughput[row] = beta
                        records.gathered[first_segment + count] = gathered
                        if not all_finite(beta):
                            gathered = wp.vec3(wp.NAN)
                            break
                        if count == 0:
                            records.depth[path] = depth
                        count += 1
                        # Roulette goes by the path's contribution to a pixel; in training all records count alike
                        if policy.mode == TRAIN:
                            eta = float(1.0)
                        else:
                            carried *= max_component(beta)
                        beta = wp.vec3(1.0)
                        gathered = wp.vec3(0.0)
                    if ends:
                        status = IN_CACHE
                        break
                    # Continue with other random numbers, from the same lobes
                    if is_cut and count == 1 and policy.continuation != 0:
                        key = fork_key(key, policy.continuation)
                        u = sample_2d(key, first_pair + LOBE_AND_ROULETTE)
                        u_end = wp.vec2(wp.min(p_delta + (1.0 - p_delta) * u[0], BELOW_ONE), u[1])

            # Sample the BSDF before the light: the two are independent, and the processor overlaps their arithmetic
            bs = sample_lobe(
                scene.materials.coat_tables, v.lobe, v.wo, u_end[0], sample_2d(key, first_pair + DIRECTION)
            )

            # Sample the light for direct illumination
            if scene.lights.count > 0 and not is_delta:
                gathered += wp.cw_mul(beta, direct_light(scene, it, v, key, first_pair))

            # Extend the path
            if bs.pdf <= 0.0:
                break
            beta = wp.cw_mul(beta, bs.weight)
            if wp.static(with_cuts):
                if not is_delta:
                    beta *= 1.0 - p_delta
                p_scatter = wp.where(is_delta, 0.0, bs.pdf)
                if area >= 0.0:
                    travelled = float(0.0)
            if not all_finite(beta):
                gathered = wp.vec3(wp.NAN)
                break
            eta *= bs.eta
            p_b = bs.pdf
            after_delta = bs.delta
            previous = it.p
            previous_n = lit_normal(v)
            d = to_world(v.frame, bs.wi)
            if v.is_mapped != 0:
                beta *= map_shadowing(v.unmapped_n, v.frame.n, d)
            o = offset_origin(it.p, it.error, it.n, d)
            t_min = float(0.0)
            t_max = float(FAR)

            # Russian roulette: end the path at random where its throughput is low
            strength = max_component(beta)
            if wp.static(with_cuts):
                strength = strength * carried
            if strength <= 0.0:
                break
            if depth >= settings.rr_depth:
                q = wp.min(strength * eta * eta, MAX_SURVIVAL)
                if u_end[1] >= q:
                    break
                beta = beta / q

        if wp.static(with_cuts):
            records.gathered[first_segment + count] = gathered
            if not all_finite(gathered):
                status = BROKEN
            records.count[path] = count
            records.status[path] = status
            records.length[path] = depth
        return gathered

    return follow
