"""What the camera sees first, beside the image: albedo, normal, depth, position, shape and material of each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from nrc_tracer.device.finite import all_finite
from nrc_tracer.device.launch import Launcher
from nrc_tracer.tracer.accel.intersect import FAR, intersect
from nrc_tracer.tracer.bsdf.leaf import BLACK, NOTHING, choose_leaf
from nrc_tracer.tracer.bsdf.lobe import (
    DIFFUSE,
    PLASTIC,
    PRINCIPLED,
    PRINCIPLED_TRANSMISSIVE,
    ROUGH_PLASTIC,
    Lobe,
    resolve,
)
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.interaction import offset_origin, surface_at, texture_point
from nrc_tracer.tracer.sampler import sample_2d, sample_key
from nrc_tracer.tracer.transport import FIRST_LEAF, PathSettings, SceneRecord, film_pixel, first_ray

LAYERS = ("albedo", "normal", "depth", "position", "shape", "material", "variance")
"""All there are, in the order in which they are written."""

CACHE_LAYERS = ("path_length", "cache_depth", "training_density", "cache_prediction", "cache_target")
"""Those that there are besides where paths end in a radiance cache."""

MOST_CACHE_SAMPLES = 16
"""Of the image's samples, those over which what is seen of a cache is averaged."""

MOST_SAMPLES = 64
"""Of the image's samples, those whose first hits are averaged."""
MOST_PASSED = wp.constant(64)
"""Surfaces that a ray passes where a mask leaves them out."""


@dataclass(frozen=True)
class FirstHits:
    """Sums over the samples of what they hit first.

    Attributes:
        albedo: Shape [pixels, 3], float32; so are `normal` and `position`.
        normal: Of the side that is seen, in world space.
        position: In world space.
        depth: Distance along the camera's axis, shape [pixels].
        hits: How many samples hit anything, shape [pixels], int32.
        shape: Number of the shape that the first sample hits, -1 for none, shape [pixels], int32.
        material: Number of its material, likewise.
    """

    albedo: np.ndarray
    normal: np.ndarray
    position: np.ndarray
    depth: np.ndarray
    hits: np.ndarray
    shape: np.ndarray
    material: np.ndarray


@wp.func
def lobe_albedo(lobe: Lobe) -> wp.vec3:
    """The colour of a surface for a denoiser: that of its diffuse base, 1 for glass and mirrors."""
    kind = lobe.kind
    if kind == DIFFUSE or kind == PLASTIC or kind == ROUGH_PLASTIC or kind == PRINCIPLED:
        return lobe.color
    if kind == PRINCIPLED_TRANSMISSIVE:
        through = lobe.second[1] * (1.0 - lobe.second[0])
        return lobe.color * (1.0 - through) + wp.vec3(through)
    return wp.vec3(1.0)


@wp.kernel(enable_backward=False)
def first_hits(
    scene: SceneRecord,
    camera: CameraRecord,
    film: FilmRecord,
    settings: PathSettings,
    sample_count: int,
    base: int,
    albedo: wp.array[wp.vec3],
    normal: wp.array[wp.vec3],
    position: wp.array[wp.vec3],
    depth: wp.array[float],
    hits: wp.array[int],
    shape: wp.array[int],
    material: wp.array[int],
):
    """Follow the image's first `sample_count` camera rays of pixel `base + tid` to what they hit first."""
    pixel = base + wp.tid()
    number_on_film = film_pixel(film, pixel)
    shape[pixel] = -1
    material[pixel] = -1
    total_albedo = wp.vec3(0.0)
    total_normal = wp.vec3(0.0)
    total_position = wp.vec3(0.0)
    total_depth = float(0.0)
    count = int(0)
    for s in range(sample_count):
        key = sample_key(settings.sampler, settings.seed, number_on_film, s)
        ray = first_ray(camera, film, pixel, key)
        o = ray.o
        t_min = ray.t_min
        t_max = ray.t_max
        passed = int(0)
        while passed < MOST_PASSED:
            hit = intersect(scene.accel, o, ray.d, t_min, t_max)
            if hit.t < 0.0:
                break
            it = surface_at(scene.surfaces, scene.accel, hit, o, ray.d)
            number = scene.surfaces.shapes[it.shape].material
            sides = scene.materials.sides[number]
            is_back = wp.dot(it.shading_n, ray.d) > 0.0
            code = wp.where(is_back, sides[1], sides[0])
            n = it.shading_n
            if code < BLACK:
                u_leaf = sample_2d(key, FIRST_LEAF + passed)
                leaf = choose_leaf(scene.materials.nodes, scene.textures, it, ray.d, code, is_back, u_leaf[0])
                code = leaf.code
                n = leaf.n
            if code == NOTHING:
                o = offset_origin(it.p, it.error, it.n, ray.d)
                t_min = float(0.0)
                t_max = float(FAR)
                passed += 1
            else:
                color = wp.vec3(0.0)
                if code >= 0:
                    lobe = resolve(scene.textures, scene.materials.lobes[code], scene.materials.more, texture_point(it))
                    color = lobe_albedo(lobe)
                if wp.dot(n, ray.d) > 0.0:
                    n = -n
                if all_finite(color) and all_finite(n):
                    total_albedo += color
                    total_normal += n
                    total_position += it.p
                    total_depth += wp.dot(it.p - camera.origin, camera.forward)
                    count += 1
                if s == 0:
                    shape[pixel] = it.shape
                    material[pixel] = number
                break
    albedo[pixel] = total_albedo
    normal[pixel] = total_normal
    position[pixel] = total_position
    depth[pixel] = total_depth
    hits[pixel] = count


def trace_first_hits(
    launcher: Launcher,
    scene: SceneRecord,
    camera: CameraRecord,
    film: FilmRecord,
    settings: PathSettings,
    *,
    pixels: int,
    samples: int,
) -> FirstHits:
    """Find what the first `samples` camera rays of every pixel hit first."""
    wp.load_module(__name__, device=launcher.device)
    vectors = [wp.zeros(pixels, dtype=wp.vec3, device=launcher.device) for _ in range(3)]
    depth = wp.zeros(pixels, dtype=float, device=launcher.device)
    counts = [wp.zeros(pixels, dtype=int, device=launcher.device) for _ in range(3)]
    arrays = [*vectors, depth, *counts]
    launcher.run(first_hits, pixels, lambda base: [scene, camera, film, settings, samples, base, *arrays])
    return FirstHits(*(array.numpy() for array in arrays))


def make_layers(found: FirstHits, *, width: int, height: int, samples: int) -> dict[str, np.ndarray]:
    """Turn sums into layers: albedo over all samples (black where there is nothing), the rest over those that hit.

    Where a pixel sees nothing, normal and position are 0 and depth is infinite. The normal is a mean, shorter than 1 where
    normals differ within the pixel.
    """
    hits = np.maximum(found.hits, 1)[:, None]
    empty = found.hits == 0
    depth = np.where(empty, np.inf, found.depth / hits[:, 0])
    layers = {
        "albedo": found.albedo / samples,
        "normal": found.normal / hits,
        "depth": depth[:, None],
        "position": found.position / hits,
        "shape": found.shape[:, None],
        "material": found.material[:, None],
    }
    shaped = {}
    for name, layer in layers.items():
        kind = np.int32 if layer.dtype.kind == "i" else np.float32
        layer = layer.astype(kind).reshape(height, width, -1)
        shaped[name] = layer if layer.shape[2] == 3 else layer[:, :, 0]
    return shaped
