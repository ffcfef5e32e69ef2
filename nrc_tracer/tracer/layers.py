"""Layers of what the camera sees first in each pixel: albedo, normal, depth, position, shape and material."""

from __future__ import annotations

from dataclasses import dataclass, fields

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
    ROUGH_DIFFUSE,
    ROUGH_PLASTIC,
    Lobe,
)
from nrc_tracer.tracer.bsdf.principled_lobe import unpack_principled
from nrc_tracer.tracer.bsdf.resolve import resolve
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.interaction import offset_origin, surface_at, texture_point
from nrc_tracer.tracer.sampler import sample_2d, sample_key
from nrc_tracer.tracer.scene_record import SceneRecord
from nrc_tracer.tracer.transport import FIRST_LEAF, PathSettings, film_pixel, first_ray

LAYERS = ("albedo", "normal", "depth", "position", "shape", "material", "variance")
"""Names of the layers, in the order in which files hold them."""

CACHE_LAYERS = ("path_length", "cache_depth", "training_density", "cache_prediction", "cache_target", "correction")
"""Further layers of renders with a radiance cache."""

MOST_CACHE_SAMPLES = 16
"""Largest number of the image's samples over which the layers of a cache are averaged."""

MOST_SAMPLES = 64
"""Largest number of the image's samples whose first hits are averaged."""
MOST_PASSED = wp.constant(64)
"""Largest number of masked-out surfaces that a camera ray passes."""


@dataclass(frozen=True)
class FirstHits:
    """Sums over samples of what their camera rays hit first.

    Attributes:
        albedo: Shape [pixels, 3], float32.
        normal: Shading normals of the visible side in world space, shape [pixels, 3], float32.
        position: Points relative to the scene's origin, shape [pixels, 3], float32.
        depth: Distances along the camera's axis, shape [pixels], float32.
        hits: Number of samples that hit a surface, shape [pixels], int32.
        shape: Number of the shape that the first sample hits, -1 for none, shape [pixels], int32.
        material: Number of that shape's material, -1 for none, shape [pixels], int32.
    """

    albedo: np.ndarray
    normal: np.ndarray
    position: np.ndarray
    depth: np.ndarray
    hits: np.ndarray
    shape: np.ndarray
    material: np.ndarray

    @classmethod
    def of(cls, found: HitArrays) -> FirstHits:
        """Copy what `launch_first_hits` has found from the device."""
        return cls(**{field.name: getattr(found, field.name).numpy() for field in fields(cls)})


@wp.func
def lobe_albedo(lobe: Lobe) -> wp.vec3:
    """The albedo of a surface for a denoiser: the colour of its diffuse base; 1 for glass and mirrors."""
    kind = lobe.kind
    if kind == DIFFUSE or kind == ROUGH_DIFFUSE or kind == PLASTIC or kind == ROUGH_PLASTIC or kind == PRINCIPLED:
        return lobe.color
    if kind == PRINCIPLED_TRANSMISSIVE:
        through = unpack_principled(lobe).bsdf
        return lobe.color * (1.0 - through) + wp.vec3(through)
    return wp.vec3(1.0)


@wp.struct
class HitArrays:
    """The arrays of `FirstHits` on a device, [pixels] each."""

    albedo: wp.array[wp.vec3]
    normal: wp.array[wp.vec3]
    position: wp.array[wp.vec3]
    depth: wp.array[float]
    hits: wp.array[int]
    shape: wp.array[int]
    material: wp.array[int]


@wp.kernel(enable_backward=False)
def first_hits(
    scene: SceneRecord,
    camera: CameraRecord,
    film: FilmRecord,
    settings: PathSettings,
    sample_count: int,
    base: int,
    found: HitArrays,
):
    """Follow the image's first `sample_count` camera rays through pixel `base + tid` to their first hits."""
    pixel = base + wp.tid()
    number_on_film = film_pixel(film, pixel)
    found.shape[pixel] = -1
    found.material[pixel] = -1
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
                    found.shape[pixel] = it.shape
                    found.material[pixel] = number
                break
    found.albedo[pixel] = total_albedo
    found.normal[pixel] = total_normal
    found.position[pixel] = total_position
    found.depth[pixel] = total_depth
    found.hits[pixel] = count


def launch_first_hits(
    launcher: Launcher,
    scene: SceneRecord,
    camera: CameraRecord,
    film: FilmRecord,
    settings: PathSettings,
    *,
    pixels: int,
    samples: int,
) -> HitArrays:
    """Find the first hits of the first `samples` camera rays of every pixel."""
    wp.load_module(__name__, device=launcher.device)
    found = HitArrays()
    for name in ("albedo", "normal", "position"):
        setattr(found, name, wp.zeros(pixels, dtype=wp.vec3, device=launcher.device))
    found.depth = wp.zeros(pixels, dtype=float, device=launcher.device)
    for name in ("hits", "shape", "material"):
        setattr(found, name, wp.zeros(pixels, dtype=int, device=launcher.device))
    launcher.run(first_hits, pixels, lambda base: [scene, camera, film, settings, samples, base, found])
    return found


def make_layers(
    found: FirstHits, *, width: int, height: int, samples: int, origin: np.ndarray
) -> dict[str, np.ndarray]:
    """Turn sums into layers: the mean albedo of all samples (the background is black), and means of the rest over the hits.

    Where a pixel sees no surface, normal and position are 0 and depth is infinite. The normal is a mean vector, shorter than 1
    where normals differ within the pixel. Positions are in world space, in which `origin` is the origin of those found; unless
    that is 0 they are float64.
    """
    hits = np.maximum(found.hits, 1)[:, None]
    empty = found.hits == 0
    depth = np.where(empty, np.inf, found.depth / hits[:, 0])
    layers = {
        "albedo": found.albedo / samples,
        "normal": found.normal / hits,
        "depth": depth[:, None],
        "position": found.position / hits + np.where(empty[:, None], 0.0, origin),
        "shape": found.shape[:, None],
        "material": found.material[:, None],
    }
    shaped = {}
    for name, layer in layers.items():
        kind: type = np.int32 if layer.dtype.kind == "i" else np.float32
        kind = np.float64 if name == "position" and np.any(origin) else kind
        layer = layer.astype(kind).reshape(height, width, -1)
        shaped[name] = layer if layer.shape[2] == 3 else layer[:, :, 0]
    return shaped
