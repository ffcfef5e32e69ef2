"""The path tracer: one kernel that follows whole paths, the same source on the CPU and on CUDA.

Names are those of Pharr, Jakob and Humphreys, *Physically Based Rendering* (4th ed., 13.4): `beta` is the throughput, `p_b` and
`p_l` are the densities of sampling a direction by the BSDF and by the lights, `w_b` and `w_l` the weights that combine them.
"""

import warp as wp

from nrc_tracer.tracer.accel.intersect import AccelHandles, intersect, occluded
from nrc_tracer.tracer.bsdf.bsdf import evaluate_lobe, sample_lobe
from nrc_tracer.tracer.bsdf.leaf import BLACK, NOTHING, choose_leaf, map_shadowing
from nrc_tracer.tracer.bsdf.lobe import Materials, has_smooth_part, is_transmissive, resolve
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord, camera_ray
from nrc_tracer.tracer.interaction import Surfaces, offset_origin, shading_frame, surface_at, texture_point
from nrc_tracer.tracer.lights import FAR, Lights, background_emission, sample_light, surface_emission
from nrc_tracer.tracer.sampler import SampleKey, sample_2d, sample_key
from nrc_tracer.tracer.sampling import max_component, power_heuristic, to_local, to_world
from nrc_tracer.tracer.textures import Textures

# On the CPU the whole path is inlined into the kernel: a call would copy the scene record for every path
wp.set_module_options(
    {
        "cpu_compiler_flags": "-march=native -mllvm=-inline-threshold=100000"
        " -mllvm=-inline-cold-callsite-threshold=3000 -mllvm=-slp-recursion-max-depth=4"
    }
)

# Pairs of random dimensions: two for the camera, then for each vertex
FILM = wp.constant(0)
LENS = wp.constant(1)
FIRST_VERTEX = wp.constant(2)
PAIRS_PER_VERTEX = wp.constant(4)
LIGHT_CHOICE = wp.constant(0)
LIGHT_POINT = wp.constant(1)
DIRECTION = wp.constant(2)
LOBE_AND_ROULETTE = wp.constant(3)
# Choosing leaves has pairs of its own, far from the others: scenes that need none do not change by it
FIRST_LEAF = wp.constant(1 << 20)

# Shadow rays stop short of the light by this share of their length
SHADOW_END = wp.constant(0.9999)

MAX_SURVIVAL = wp.constant(0.95)


@wp.struct
class SceneRecord:
    """A scene on a device."""

    accel: AccelHandles
    surfaces: Surfaces
    materials: Materials
    textures: Textures
    lights: Lights


@wp.struct
class PathSettings:
    """What decides a path beside the scene. `max_depth` counts segments, as in the scene format."""

    sampler: int
    seed: wp.uint64
    max_depth: int
    rr_depth: int


@wp.func
def all_finite(v: wp.vec3) -> bool:
    """Whether no component is infinite or not a number."""
    return wp.isfinite(v[0]) and wp.isfinite(v[1]) and wp.isfinite(v[2])


@wp.func
def is_lit(v: wp.vec3) -> bool:
    """Whether a colour adds anything; one that is not finite does, so that its sample is dropped instead of taken for dark."""
    return not (v[0] + v[1] + v[2] <= 0.0)


@wp.func
def path_radiance(
    scene: SceneRecord, camera: CameraRecord, film: FilmRecord, settings: PathSettings, pixel: int, key: SampleKey
) -> wp.vec3:
    """Radiance along one path from the camera, with next-event estimation and multiple importance sampling throughout."""
    radiance = wp.vec3(0.0)
    if settings.max_depth == 0:
        return radiance
    u_lens = wp.vec2(0.0)
    if camera.aperture_radius > 0.0:
        u_lens = sample_2d(key, LENS)
    ray = camera_ray(camera, film, pixel, sample_2d(key, FILM), u_lens)
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
            e = background_emission(scene.lights, d)
            w_b = float(1.0)
            if after_delta == 0:
                w_b = power_heuristic(p_b, e[3])
            radiance += wp.cw_mul(beta, wp.vec3(e[0], e[1], e[2])) * w_b
            break
        it = surface_at(scene.surfaces, scene.accel, hit, o, d)

        # Add what the surface emits
        if it.light >= 0:
            e = surface_emission(scene.lights, scene.surfaces, scene.accel, scene.textures, it, previous, d)
            w_b = float(1.0)
            if after_delta == 0:
                w_b = power_heuristic(p_b, e[3])
            radiance += wp.cw_mul(beta, wp.vec3(e[0], e[1], e[2])) * w_b
        depth += 1
        if depth >= settings.max_depth:
            break

        # Find the lobe of the side that is seen, and turn the frame to it
        first_pair = FIRST_VERTEX + (depth - 1) * PAIRS_PER_VERTEX
        sides = scene.materials.sides[scene.surfaces.shapes[it.shape].material]
        is_back = wp.dot(it.shading_n, d) > 0.0
        lobe_index = wp.where(is_back, sides[1], sides[0])
        if lobe_index == BLACK:
            break
        is_mapped = int(0)
        unmapped_n = it.shading_n
        if lobe_index < 0:
            u_leaf = sample_2d(key, FIRST_LEAF + depth - 1)
            leaf = choose_leaf(scene.materials.nodes, scene.textures, it, d, lobe_index, is_back, u_leaf[0])
            if not all_finite(leaf.n):
                return leaf.n
            if leaf.code == BLACK:
                break
            if leaf.code == NOTHING:
                # Go straight on. To what comes next this is a delta function: shadow rays did not get through
                after_delta = 1
                previous = it.p
                o = offset_origin(it.p, it.error, it.n, d)
                t_min = float(0.0)
                t_max = float(FAR)
                continue
            lobe_index = leaf.code
            is_back = leaf.is_back != 0
            is_mapped = leaf.is_mapped
            unmapped_n = leaf.unmapped_n
            it.shading_n = leaf.n
        lobe = resolve(scene.textures, scene.materials.lobes[lobe_index], scene.materials.more, texture_point(it))
        if not all_finite(lobe.color):
            return lobe.color
        if is_back and not is_transmissive(lobe.kind):
            it.shading_n = -it.shading_n
            unmapped_n = -unmapped_n
        frame = shading_frame(it, lobe.facets.alpha_u != lobe.facets.alpha_v)
        wo = to_local(frame, -d)

        # Sample the BSDF. Here already: while the processor waits for one sample's arithmetic it can do the other's
        u_end = sample_2d(key, first_pair + LOBE_AND_ROULETTE)
        bs = sample_lobe(scene.materials.coat_tables, lobe, wo, u_end[0], sample_2d(key, first_pair + DIRECTION))

        # Sample the light for direct illumination
        if scene.lights.count > 0 and has_smooth_part(lobe.kind):
            u_choice = sample_2d(key, first_pair + LIGHT_CHOICE)
            u_point = sample_2d(key, first_pair + LIGHT_POINT)
            ls = sample_light(scene.lights, scene.surfaces, scene.accel, scene.textures, it.p, u_choice, u_point)
            if ls.pdf > 0.0 and is_lit(ls.radiance):
                f = evaluate_lobe(scene.materials.coat_tables, lobe, wo, to_local(frame, ls.wi))
                if is_mapped != 0:
                    shadowing = map_shadowing(unmapped_n, it.shading_n, ls.wi)
                    f = wp.vec4(f[0] * shadowing, f[1] * shadowing, f[2] * shadowing, f[3])
                contribution = wp.cw_mul(beta, wp.cw_mul(wp.vec3(f[0], f[1], f[2]), ls.radiance)) / ls.pdf
                if is_lit(contribution):
                    # To a point on a light the ray's parameter runs from 0 to 1
                    start = offset_origin(it.p, it.error, it.n, ls.wi)
                    direction = ls.wi
                    t_light = float(FAR)
                    if ls.distant == 0:
                        direction = ls.p - start
                        t_light = SHADOW_END
                    if not occluded(scene.accel, start, direction, t_light):
                        w_l = float(1.0)
                        if ls.delta == 0:
                            w_l = power_heuristic(ls.pdf, f[3])
                        radiance += contribution * w_l

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
        d = to_world(frame, bs.wi)
        if is_mapped != 0:
            beta *= map_shadowing(unmapped_n, it.shading_n, d)
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
    film_pixel = (film.crop_y + pixel // film.crop_width) * int(film.size[0]) + film.crop_x + pixel % film.crop_width
    for s in range(sample_count):
        key = sample_key(settings.sampler, settings.seed, film_pixel, first_sample + s)
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
