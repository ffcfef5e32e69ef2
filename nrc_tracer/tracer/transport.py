"""The steps of a path: its first ray, the lobe at each vertex, direct light, and the weight of emission that a ray meets.

Names are those of Pharr, Jakob and Humphreys, *Physically Based Rendering* (4th ed., 13.4): `beta` is the throughput, `p_b` and
`p_l` are the densities of sampling a direction from the BSDF and from the lights, `w_b` and `w_l` their weights in multiple
importance sampling.
"""

import warp as wp

from nrc_tracer.device.finite import all_finite
from nrc_tracer.tracer.accel.intersect import FAR, occluded
from nrc_tracer.tracer.bsdf.bsdf import evaluate_lobe
from nrc_tracer.tracer.bsdf.leaf import BLACK, NOTHING, choose_leaf, map_shadowing
from nrc_tracer.tracer.bsdf.lobe import Lobe, is_transmissive
from nrc_tracer.tracer.bsdf.resolve import resolve
from nrc_tracer.tracer.camera import CameraRay, CameraRecord, FilmRecord, camera_ray
from nrc_tracer.tracer.interaction import Interaction, offset_origin, shading_frame, texture_point
from nrc_tracer.tracer.lights.lights import sample_light, sampled_radiance
from nrc_tracer.tracer.sampler import SampleKey, sample_2d
from nrc_tracer.tracer.sampling import Frame, power_heuristic, to_local
from nrc_tracer.tracer.scene_record import SceneRecord

KERNEL_OPTIONS = {
    # On the CPU the whole path is inlined into the kernel: a function call would copy the scene record for every path
    "cpu_compiler_flags": "-march=native -mllvm=-inline-threshold=100000"
    " -mllvm=-inline-cold-callsite-threshold=3000 -mllvm=-slp-recursion-max-depth=4"
}
"""Warp options of modules whose kernels follow paths."""

# Pairs of random dimensions: two for the camera, then four for each vertex
FILM = wp.constant(0)
LENS = wp.constant(1)
FIRST_VERTEX = wp.constant(2)
PAIRS_PER_VERTEX = wp.constant(4)
LIGHT_CHOICE = wp.constant(0)
LIGHT_POINT = wp.constant(1)
DIRECTION = wp.constant(2)
LOBE_AND_ROULETTE = wp.constant(3)
# The choice of a leaf has pairs of its own, far from the others, so that scenes without such choices keep their random numbers
FIRST_LEAF = wp.constant(1 << 20)

# Fraction of the distance to a point that is off the light's surface already: 16 steps of float32 less than 1
SHADOW_END = wp.constant(1.0 - 2.0**-20)

# Largest probability of surviving Russian roulette
MAX_SURVIVAL = wp.constant(0.95)

# What a vertex does with the path
SCATTERS = wp.constant(0)
ABSORBS = wp.constant(1)
PASSES = wp.constant(2)  # a mask makes the surface transparent: the ray goes straight on
BREAKS = wp.constant(3)  # a parameter is not finite


@wp.struct
class PathSettings:
    """Settings of paths."""

    sampler: int  # a `SamplerKind`
    seed: wp.uint64
    max_depth: int  # longest path [segments]
    rr_depth: int  # Russian roulette begins at this depth [segments]


@wp.struct
class Vertex:
    """The lobe that scatters at a hit, and the shading frame on the side that the ray sees."""

    status: int
    lobe: Lobe
    frame: Frame
    wo: wp.vec3  # direction to the viewer, in that frame
    is_mapped: int  # 1 if a bump or normal map has changed the frame's normal
    unmapped_n: wp.vec3  # the normal without maps


@wp.func
def is_lit(v: wp.vec3) -> bool:
    """Whether a colour is not black. A colour that is not finite counts as lit, so that its sample is dropped and reported."""
    return not (v[0] + v[1] + v[2] <= 0.0)


@wp.func
def film_pixel(film: FilmRecord, pixel: int) -> int:
    """Index on the whole film of pixel `pixel` of the crop window, so that random numbers do not depend on the crop."""
    return (film.crop_y + pixel // film.crop_width) * int(film.size[0]) + film.crop_x + pixel % film.crop_width


@wp.func
def first_ray(camera: CameraRecord, film: FilmRecord, pixel: int, key: SampleKey) -> CameraRay:
    """The camera ray of a sample of pixel `pixel` of the crop window."""
    u_lens = wp.vec2(0.0)
    if camera.aperture_radius > 0.0:
        u_lens = sample_2d(key, LENS)
    return camera_ray(camera, film, pixel, sample_2d(key, FILM), u_lens)


@wp.func
def weighted_emission(e: wp.vec4, p_b: float, after_delta: int) -> wp.vec3:
    """Weigh emission met by a ray that was sampled from the BSDF with density `p_b`; `e` is (radiance, p_l)."""
    w_b = float(1.0)
    if after_delta == 0:
        w_b = power_heuristic(p_b, e[3])
    return wp.vec3(e[0], e[1], e[2]) * w_b


@wp.func
def vertex_at(scene: SceneRecord, it: Interaction, d: wp.vec3, key: SampleKey, depth: int) -> Vertex:
    """Find the lobe on the side that a ray along `d` sees, and its shading frame. `depth` counts vertices from 1."""
    v = Vertex()
    sides = scene.materials.sides[scene.surfaces.shapes[it.shape].material]
    is_back = wp.dot(it.shading_n, d) > 0.0
    lobe_index = wp.where(is_back, sides[1], sides[0])
    if lobe_index == BLACK:
        v.status = ABSORBS
        return v
    v.unmapped_n = it.shading_n
    n = it.shading_n
    if lobe_index < 0:
        u_leaf = sample_2d(key, FIRST_LEAF + depth - 1)
        leaf = choose_leaf(scene.materials.nodes, scene.textures, it, d, lobe_index, is_back, u_leaf[0])
        if not all_finite(leaf.n):
            v.status = BREAKS
            return v
        if leaf.code == BLACK:
            v.status = ABSORBS
            return v
        if leaf.code == NOTHING:
            v.status = PASSES
            return v
        lobe_index = leaf.code
        is_back = leaf.is_back != 0
        v.is_mapped = leaf.is_mapped
        v.unmapped_n = leaf.unmapped_n
        n = leaf.n
    v.lobe = resolve(scene.textures, scene.materials.lobes[lobe_index], scene.materials.more, texture_point(it))
    if not all_finite(v.lobe.color):
        v.status = BREAKS
        return v
    if is_back and not is_transmissive(v.lobe.kind):
        n = -n
        v.unmapped_n = -v.unmapped_n
    v.frame = shading_frame(n, it.dpdu, v.lobe.facets.alpha_u != v.lobe.facets.alpha_v)
    v.wo = to_local(v.frame, -d)
    return v


@wp.func
def lit_normal(v: Vertex) -> wp.vec3:
    """The normal of the side from which light can arrive; zero if it can from both."""
    if is_transmissive(v.lobe.kind):
        return wp.vec3(0.0)
    return v.frame.n


@wp.func
def direct_light(scene: SceneRecord, it: Interaction, v: Vertex, key: SampleKey, first_pair: int) -> wp.vec3:
    """Sample a light, and return the radiance that the vertex scatters from it, weighted against BSDF sampling."""
    u_choice = sample_2d(key, first_pair + LIGHT_CHOICE)
    u_point = sample_2d(key, first_pair + LIGHT_POINT)
    ls = sample_light(scene, it.p, lit_normal(v), u_choice, u_point)
    if ls.pdf <= 0.0 or not is_lit(ls.radiance):
        return wp.vec3(0.0)
    f = evaluate_lobe(scene.materials.coat_tables, v.lobe, v.wo, to_local(v.frame, ls.wi))
    if v.is_mapped != 0:
        shadowing = map_shadowing(v.unmapped_n, v.frame.n, ls.wi)
        f = wp.vec4(f[0] * shadowing, f[1] * shadowing, f[2] * shadowing, f[3])
    bsdf = wp.vec3(f[0], f[1], f[2])
    contribution = wp.cw_mul(bsdf, ls.radiance) / ls.pdf
    if not is_lit(contribution):
        return wp.vec3(0.0)
    # To a point on a light the ray's parameter runs from 0 to 1
    start = offset_origin(it.p, it.error, it.n, ls.wi)
    direction = ls.wi
    t_light = float(FAR)
    if ls.distant == 0:
        direction = ls.p - start
        t_light = SHADOW_END
    if occluded(scene.accel, start, direction, t_light):
        return wp.vec3(0.0)
    if ls.mapped != 0:
        contribution = wp.cw_mul(bsdf, sampled_radiance(scene, ls)) / ls.pdf
    w_l = float(1.0)
    if ls.delta == 0:
        w_l = power_heuristic(ls.pdf, f[3])
    return contribution * w_l
