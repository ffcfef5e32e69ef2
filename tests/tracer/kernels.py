"""Kernels that call one device function of the tracer for many arguments, in one module because each is compiled separately."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from nrc_tracer.tracer.accel.intersect import intersect, occluded
from nrc_tracer.tracer.bsdf.bsdf import evaluate_lobe, sample_lobe
from nrc_tracer.tracer.bsdf.leaf import choose_leaf, map_shadowing
from nrc_tracer.tracer.bsdf.lobe import Lobe
from nrc_tracer.tracer.bsdf.microfacet import Microfacets, sample_visible_normal, visible_normal_pdf
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord, camera_ray, filter_offset
from nrc_tracer.tracer.interaction import (
    offset_origin,
    shading_frame,
    surface_at,
)
from nrc_tracer.tracer.lights.lights import (
    background_emission,
    choice_probability,
    choose_light,
    sample_light,
    sampled_radiance,
    surface_emission,
)
from nrc_tracer.tracer.sampler import sample_2d, sample_key
from nrc_tracer.tracer.sampling import concentric_disk, cosine_hemisphere, frame_from_normal, uniform_sphere
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.textures import TexturePoint, lookup

COSINE = wp.constant(0)
SPHERE = wp.constant(1)
FAR = 1.0e30


@wp.kernel(enable_backward=False)
def map_square_kernel(kind: int, u: wp.array[wp.vec2], out: wp.array[wp.vec3]):
    i = wp.tid()
    if kind == COSINE:
        out[i] = cosine_hemisphere(u[i])
    elif kind == SPHERE:
        out[i] = uniform_sphere(u[i])
    else:
        d = concentric_disk(u[i])
        out[i] = wp.vec3(d[0], d[1], 0.0)


@wp.kernel(enable_backward=False)
def frame_kernel(n: wp.array[wp.vec3], out: wp.array2d[wp.vec3]):
    i = wp.tid()
    frame = frame_from_normal(n[i])
    out[i, 0] = frame.s
    out[i, 1] = frame.t
    out[i, 2] = frame.n


@wp.kernel(enable_backward=False)
def visible_normal_kernel(f: Microfacets, w: wp.vec3, u: wp.array[wp.vec2], out: wp.array[wp.vec3]):
    i = wp.tid()
    out[i] = sample_visible_normal(f, w, u[i])


@wp.kernel(enable_backward=False)
def visible_normal_pdf_kernel(f: Microfacets, w: wp.vec3, m: wp.array[wp.vec3], out: wp.array[float]):
    i = wp.tid()
    pdf = float(0.0)
    if wp.dot(w, m[i]) > 0.0:
        pdf = visible_normal_pdf(f, w, m[i])
    out[i] = pdf


@wp.kernel(enable_backward=False)
def sample_lobe_kernel(
    tables: wp.array[float],
    lobe: Lobe,
    wo: wp.array[wp.vec3],
    u_lobe: wp.array[float],
    u: wp.array[wp.vec2],
    wi: wp.array[wp.vec3],
    weight: wp.array[wp.vec3],
    rest: wp.array[wp.vec3],
):
    i = wp.tid()
    s = sample_lobe(tables, lobe, wo[i], u_lobe[i], u[i])
    wi[i] = s.wi
    weight[i] = s.weight
    rest[i] = wp.vec3(s.pdf, float(s.delta), s.eta)


@wp.kernel(enable_backward=False)
def evaluate_lobe_kernel(
    tables: wp.array[float], lobe: Lobe, wo: wp.array[wp.vec3], wi: wp.array[wp.vec3], out: wp.array[wp.vec4]
):
    i = wp.tid()
    out[i] = evaluate_lobe(tables, lobe, wo[i], wi[i])


@wp.kernel(enable_backward=False)
def sample_light_kernel(
    scene: SceneRecord,
    p: wp.vec3,
    n: wp.vec3,
    u_light: wp.array[wp.vec2],
    u: wp.array[wp.vec2],
    wi: wp.array[wp.vec3],
    radiance: wp.array[wp.vec3],
    at: wp.array[wp.vec3],
    rest: wp.array[wp.vec3],
):
    i = wp.tid()
    s = sample_light(scene, p, n, u_light[i], u[i])
    wi[i] = s.wi
    radiance[i] = sampled_radiance(scene, s)
    at[i] = s.p
    rest[i] = wp.vec3(s.pdf, float(s.delta), float(s.distant))


@wp.kernel(enable_backward=False)
def emission_kernel(scene: SceneRecord, p: wp.vec3, n: wp.vec3, w: wp.array[wp.vec3], out: wp.array[wp.vec4]):
    """Radiance along `w` at `p`, and the density with which light sampling would choose `w`, computed as in the path tracer."""
    i = wp.tid()
    d = w[i]
    hit = intersect(scene.accel, p, d, 0.0, 1.0e30)
    if hit.t < 0.0:
        out[i] = background_emission(scene, d)
        return
    it = surface_at(scene.surfaces, scene.accel, hit, p, d)
    if it.light >= 0:
        out[i] = surface_emission(scene, it, p, n, d, True)


@wp.kernel(enable_backward=False)
def choose_light_kernel(
    scene: SceneRecord, p: wp.vec3, n: wp.vec3, u: wp.array[wp.vec2], numbers: wp.array[int], chances: wp.array[float]
):
    i = wp.tid()
    choice = choose_light(scene.lights, p, n, u[i])
    numbers[i] = choice.index
    chances[i] = choice.probability


@wp.kernel(enable_backward=False)
def light_probability_kernel(scene: SceneRecord, p: wp.vec3, n: wp.vec3, out: wp.array[float]):
    """Probability of choosing each light."""
    i = wp.tid()
    out[i] = choice_probability(scene.lights, scene.lights.records[i], p, n)


@wp.kernel(enable_backward=False)
def sampler_kernel(
    kind: int,
    seed: wp.uint64,
    pixel: wp.array[int],
    index: wp.array[int],
    dimension: wp.array[int],
    base: int,
    out: wp.array[wp.vec2],
):
    i = base + wp.tid()
    out[i] = sample_2d(sample_key(kind, seed, pixel[i], index[i]), dimension[i])


@wp.kernel(enable_backward=False)
def filter_kernel(film: FilmRecord, u: wp.array[float], out: wp.array[float]):
    i = wp.tid()
    out[i] = filter_offset(film, u[i])


@wp.kernel(enable_backward=False)
def camera_kernel(
    camera: CameraRecord,
    film: FilmRecord,
    pixel: wp.array[int],
    u_film: wp.array[wp.vec2],
    u_lens: wp.array[wp.vec2],
    o: wp.array[wp.vec3],
    d: wp.array[wp.vec3],
    t: wp.array[wp.vec2],
):
    i = wp.tid()
    ray = camera_ray(camera, film, pixel[i], u_film[i], u_lens[i])
    o[i] = ray.o
    d[i] = ray.d
    t[i] = wp.vec2(ray.t_min, ray.t_max)


@wp.kernel(enable_backward=False)
def lookup_kernel(scene: SceneRecord, index: int, color: wp.vec4, uv: wp.array[wp.vec2], out: wp.array[wp.vec3]):
    i = wp.tid()
    at = TexturePoint()
    at.uv = uv[i]
    at.color = color
    out[i] = lookup(scene.textures, index, at)


@wp.kernel(enable_backward=False)
def intersect_kernel(
    scene: SceneRecord,
    o: wp.array[wp.vec3],
    d: wp.array[wp.vec3],
    limits: wp.array[wp.vec2],
    tuv: wp.array[wp.vec3],
    index: wp.array[wp.vec2i],
    blocked: wp.array[int],
):
    i = wp.tid()
    hit = intersect(scene.accel, o[i], d[i], limits[i][0], limits[i][1])
    tuv[i] = wp.vec3(hit.t, hit.u, hit.v)
    index[i] = wp.vec2i(hit.index, hit.is_sphere)
    blocked[i] = wp.where(occluded(scene.accel, o[i], d[i], limits[i][1]), 1, 0)


@wp.kernel(enable_backward=False)
def interaction_kernel(
    scene: SceneRecord,
    o: wp.array[wp.vec3],
    d: wp.array[wp.vec3],
    vectors: wp.array2d[wp.vec3],
    uv: wp.array[wp.vec2],
    numbers: wp.array[wp.vec3i],
):
    """Rows of `vectors`: p, error, n, shading n, dpdu, tangent of the anisotropic frame, origin of a ray on the side of n."""
    i = wp.tid()
    hit = intersect(scene.accel, o[i], d[i], 0.0, 1.0e30)
    if hit.t < 0.0:
        numbers[i] = wp.vec3i(-1, -1, 0)
        return
    it = surface_at(scene.surfaces, scene.accel, hit, o[i], d[i])
    vectors[i, 0] = it.p
    vectors[i, 1] = it.error
    vectors[i, 2] = it.n
    vectors[i, 3] = it.shading_n
    vectors[i, 4] = it.dpdu
    vectors[i, 5] = shading_frame(it.shading_n, it.dpdu, True).s
    vectors[i, 6] = offset_origin(it.p, it.error, it.n, it.n)
    uv[i] = it.uv
    numbers[i] = wp.vec3i(it.shape, it.light, hit.is_sphere)


@wp.kernel(enable_backward=False)
def leaf_kernel(
    scene: SceneRecord,
    o: wp.array[wp.vec3],
    d: wp.array[wp.vec3],
    u: wp.array[float],
    codes: wp.array[wp.vec3i],
    normals: wp.array2d[wp.vec3],
):
    """Code, kind of the lobe, whether it is still seen from the back; its normal, and the normal without maps."""
    i = wp.tid()
    it = surface_at(scene.surfaces, scene.accel, intersect(scene.accel, o[i], d[i], 0.0, 1.0e30), o[i], d[i])
    sides = scene.materials.sides[scene.surfaces.shapes[it.shape].material]
    is_back = wp.dot(it.shading_n, d[i]) > 0.0
    root = wp.where(is_back, sides[1], sides[0])
    leaf = choose_leaf(scene.materials.nodes, scene.textures, it, d[i], root, is_back, u[i])
    kind = int(-1)
    if leaf.code >= 0:
        kind = scene.materials.lobes[leaf.code].kind
    codes[i] = wp.vec3i(leaf.code, kind, leaf.is_back)
    normals[i, 0] = leaf.n
    normals[i, 1] = leaf.unmapped_n


@wp.kernel(enable_backward=False)
def shadowing_kernel(unmapped: wp.vec3, n: wp.vec3, wi: wp.array[wp.vec3], out: wp.array[float]):
    i = wp.tid()
    out[i] = map_shadowing(unmapped, n, wi[i])


# --- The same as functions of arrays


def array(values: np.ndarray, dtype: type) -> wp.array:
    """A Warp array on the CPU."""
    return wp.array(np.ascontiguousarray(values), dtype=dtype, device="cpu")


def launch(kernel: wp.Kernel, count: int, inputs: list) -> None:
    """Run a kernel on the CPU."""
    wp.launch(kernel, dim=count, inputs=inputs, device="cpu")


def zeros(count: int | tuple[int, ...], dtype: type) -> wp.array:
    """A Warp array of zeros on the CPU."""
    return wp.zeros(count, dtype=dtype, device="cpu")


def uniform(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random numbers in [0, 1) with 24 bits, as the sampler generates them."""
    return rng.integers(0, 1 << 24, shape).astype(np.float32) * np.float32(2.0**-24)


def map_square(kind: int, u: np.ndarray) -> np.ndarray:
    """COSINE, SPHERE or the disk at points of the unit square."""
    out = zeros(len(u), wp.vec3)
    launch(map_square_kernel, len(u), [kind, array(u, wp.vec2), out])
    return out.numpy()


@dataclass(frozen=True)
class LobeSamples:
    """Directions drawn from a lobe, one per row."""

    wi: np.ndarray
    weight: np.ndarray
    pdf: np.ndarray
    delta: np.ndarray
    eta: np.ndarray


NO_TABLE = np.zeros(1, np.float32)


def sample_lobe_many(
    lobe: Lobe, wo: np.ndarray, count: int, rng: np.random.Generator, table: np.ndarray = NO_TABLE
) -> LobeSamples:
    """Draw `count` directions; `wo` has the shape [3] or [count, 3]."""
    wi, weight, rest = zeros(count, wp.vec3), zeros(count, wp.vec3), zeros(count, wp.vec3)
    wo = array(np.broadcast_to(wo, (count, 3)).astype(np.float32), wp.vec3)
    u_lobe, u = array(uniform(rng, count), float), array(uniform(rng, count, 2), wp.vec2)
    launch(sample_lobe_kernel, count, [array(table, float), lobe, wo, u_lobe, u, wi, weight, rest])
    pdf, delta, eta = rest.numpy().T
    return LobeSamples(wi.numpy(), weight.numpy(), pdf, delta.astype(bool), eta)


def evaluate_lobe_many(lobe: Lobe, wo: np.ndarray, wi: np.ndarray, table: np.ndarray = NO_TABLE) -> np.ndarray:
    """(f cos, pdf) for pairs of directions, shape [count, 4]."""
    count = max(np.size(wo) // 3, np.size(wi) // 3)
    out = zeros(count, wp.vec4)
    wo, wi = (array(np.broadcast_to(w, (count, 3)).astype(np.float32), wp.vec3) for w in (wo, wi))
    launch(evaluate_lobe_kernel, count, [array(table, float), lobe, wo, wi, out])
    return out.numpy()


def random_pairs(
    kind: int, seed: int, pixel: np.ndarray, index: np.ndarray, dimension: np.ndarray, block: int | None = None
) -> np.ndarray:
    """The sampler's pairs for integers that broadcast, shape [..., 2], in launches of `block` items if given."""
    shape = np.broadcast_shapes(np.shape(pixel), np.shape(index), np.shape(dimension))
    inputs = [array(np.broadcast_to(a, shape).astype(np.int32).ravel(), int) for a in (pixel, index, dimension)]
    count = int(np.prod(shape))
    out = zeros(count, wp.vec2)
    for base in range(0, count, block or count):
        launch(sampler_kernel, min(block or count, count - base), [kind, seed, *inputs, base, out])
    return out.numpy().reshape(*shape, 2)
