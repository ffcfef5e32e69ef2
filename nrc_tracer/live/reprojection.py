"""Temporal reprojection: what earlier frames found is moved to where the camera sees it now, and averaged with the new frame.

Each pixel keeps the mean of the light that its surface sends to the camera, divided by the albedo so that textures stay sharp,
and how many samples this mean stands for. A new pixel looks its surface point up in the last frame and keeps what lies on the
same shape, in the same plane and with the same normal. Smooth mirrors and glass show other places, whose motion is not known:
they keep nothing.

The mean belongs to a point of the surface, its anchor, and pixels take the mean of the nearest anchor as it is. Interpolation
between pixels would blur the picture a little more in every frame.

Sources: Schied et al., *Spatiotemporal Variance-Guided Filtering* (HPG 2017), for the tests of geometry and the
division by albedo; Karis, *High Quality Temporal Supersampling* (SIGGRAPH 2014), for the limits that the new samples set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from nrc_tracer.device.launch import Launcher
from nrc_tracer.tracer.camera import ORTHOGRAPHIC, CameraRecord, FilmRecord, camera_ray
from nrc_tracer.tracer.layers import HitArrays
from nrc_tracer.tracer.vocabulary import REC709_LUMINANCE

wp.set_module_options({"enable_backward": False})

MOST_SAMPLES = wp.constant(32.0)
"""Largest number of samples that the mean of a pixel stands for: what changes slowly is followed within so many frames."""

LEAST_ALBEDO = wp.constant(0.02)
"""Smallest albedo by which light is divided."""

SAME_NORMAL = wp.constant(0.9)
"""Smallest cosine between normals of the same surface."""

SAME_PLANE = wp.constant(0.01)
"""Largest distance of a point from the plane of the same surface, as a fraction of its distance from the camera."""

STALE_ERRORS = wp.constant(4.0)
"""Standard errors of the new samples around a pixel by which the history may differ from them before it counts as outdated."""

STALE_SAMPLES = wp.constant(2.0)
"""Number of samples that an outdated mean stands for."""

FARTHEST = wp.constant(1.5)
"""Largest distance of an anchor from where a pixel's centre was in the last frame [pixels]."""

ANCHORED = wp.constant(0.75)
"""Largest distance, in either direction, of an anchor from the centre of the pixel that keeps it [pixels]."""

MOVED_SAMPLES = wp.constant(4.0)
"""Largest number of samples that the mean of an anchor outside the pixel stands for."""

FEW_SAMPLES = wp.constant(4.0)
"""Number of samples below which a pixel is shown with its neighbours' samples as well."""

RADIUS = wp.constant(2)
"""Largest distance of these neighbours, and of those whose new samples judge the history [pixels]."""

LUMINANCE = wp.constant(wp.vec3(*REC709_LUMINANCE))


@wp.struct
class HistoryRecord:
    """What is kept of a frame, [height * width] each."""

    light: wp.array[wp.vec3]  # mean radiance divided by the albedo
    count: wp.array[float]  # samples that it stands for; 0: nothing is known
    position: wp.array[wp.vec3]  # the anchor: the point of the surface whose light this is
    normal: wp.array[wp.vec3]
    shape: wp.array[int]  # -1: no surface
    camera: CameraRecord
    width: int
    height: int


@wp.func
def on_film(camera: CameraRecord, p: wp.vec3) -> wp.vec3:
    """Where a point lies on the film, in image widths and heights from the upper left corner, and its depth."""
    v = p - camera.origin
    depth = wp.dot(v, camera.forward)
    scale = wp.where(camera.kind == ORTHOGRAPHIC, 1.0, depth)
    x = 0.5 * (1.0 - wp.dot(v, camera.left) / (scale * camera.extent[0])) - camera.shift[0]
    y = 0.5 * (1.0 - wp.dot(v, camera.up) / (scale * camera.extent[1])) - camera.shift[1]
    return wp.vec3(x, y, depth)


@wp.func
def divisor(albedo: wp.vec3) -> wp.vec3:
    """The albedo by which light is divided."""
    return wp.max(albedo, wp.vec3(LEAST_ALBEDO))


@wp.func
def is_same_surface(
    shape: int, p: wp.vec3, n: wp.vec3, depth: float, other_shape: int, other_p: wp.vec3, other_n: wp.vec3
) -> bool:
    """Whether two points lie on the same shape, with similar normals, each near the other's plane."""
    if shape < 0 or shape != other_shape:
        return False
    if wp.dot(n, other_n) < SAME_NORMAL:
        return False
    return wp.abs(wp.dot(other_p - p, n)) < SAME_PLANE * depth


@wp.func
def kept(history: HistoryRecord, x: int, y: int, shape: int, p: wp.vec3, n: wp.vec3, depth: float) -> int:
    """Index of the pixel (x, y) of the history if it shows the same surface, else -1."""
    if x < 0 or y < 0 or x >= history.width or y >= history.height:
        return -1
    i = y * history.width + x
    if history.count[i] <= 0.0:
        return -1
    if not is_same_surface(shape, p, n, depth, history.shape[i], history.position[i], history.normal[i]):
        return -1
    return i


@wp.func
def sharpness(a: wp.vec3, b: wp.vec3, width: float, height: float) -> float:
    """Weight of light at one point of the film for another, by their distance."""
    dx = (a[0] - b[0]) * width
    dy = (a[1] - b[1]) * height
    return wp.exp(-2.0 * (dx * dx + dy * dy))


@wp.func
def below_center(camera: CameraRecord, film: FilmRecord, pixel: int, p: wp.vec3, n: wp.vec3, depth: float) -> wp.vec3:
    """The point that the centre of a pixel sees, if the plane of the point `p`, seen elsewhere in the pixel, goes on so far."""
    ray = camera_ray(camera, film, pixel, wp.vec2(0.5), wp.vec2(0.5))
    across = wp.dot(ray.d, n)
    if wp.abs(across) < 0.05:
        return p
    found = ray.o + ray.d * (wp.dot(p - ray.o, n) / across)
    return wp.where(wp.length(found - p) < 0.1 * depth, found, p)


@wp.func
def nearest(history: HistoryRecord, at: wp.vec2, shape: int, p: wp.vec3, n: wp.vec3, depth: float) -> int:
    """Index of the pixel of the history whose anchor is nearest to a point of its film [pixels]; -1 if none near is usable."""
    x0 = int(wp.floor(at[0]))
    y0 = int(wp.floor(at[1]))
    best = int(-1)
    least = float(FARTHEST * FARTHEST)
    for j in range(-1, 2):
        for i in range(-1, 2):
            index = kept(history, x0 + i, y0 + j, shape, p, n, depth)
            if index >= 0:
                anchor = on_film(history.camera, history.position[index])
                dx = anchor[0] * float(history.width) - at[0]
                dy = anchor[1] * float(history.height) - at[1]
                distance = dx * dx + dy * dy
                if distance < least:
                    least = distance
                    best = index
    return best


@wp.kernel(enable_backward=False)
def reproject(
    camera: CameraRecord,
    film: FilmRecord,
    hits: HitArrays,
    radiance: wp.array[wp.vec3],
    keeps: wp.array[int],
    history: HistoryRecord,
    base: int,
    fresh: wp.array[wp.vec4],
    old: wp.array[wp.vec4],
    anchors: wp.array[wp.vec3],
):
    """Divide the new radiance of pixel `base + tid` by the albedo; look up its light, samples and anchor in the history."""
    pixel = base + wp.tid()
    found = wp.vec4(0.0)
    albedo = wp.vec3(1.0)
    shape = hits.shape[pixel]
    p = hits.position[pixel]
    anchor = p
    weight = float(1.0)
    if shape >= 0:
        anchor = below_center(camera, film, pixel, p, hits.normal[pixel], hits.depth[pixel])
        albedo = divisor(hits.albedo[pixel])
        if hits.hits[pixel] > 0 and keeps[hits.material[pixel]] != 0 and history.width > 0:
            now = on_film(camera, p)
            then = on_film(history.camera, p)
            if then[2] > 0.0:
                # The motion of the surface, applied to the centre of the pixel
                width = film.size[0]
                height = film.size[1]
                x = float(pixel % int(width)) + 0.5
                y = float(pixel // int(width)) + 0.5
                at = wp.vec2(
                    (x / width + then[0] - now[0]) * float(history.width),
                    (y / height + then[1] - now[1]) * float(history.height),
                )
                index = nearest(history, at, shape, p, hits.normal[pixel], hits.depth[pixel])
                if index >= 0:
                    known = history.light[index]
                    count = history.count[index]
                    # The anchor stays while it lies in the pixel. Else the light is that of a neighbouring point
                    kept_anchor = history.position[index]
                    place = on_film(camera, kept_anchor)
                    dx = wp.abs(place[0] * width - x)
                    dy = wp.abs(place[1] * height - y)
                    if wp.max(dx, dy) < ANCHORED:
                        anchor = kept_anchor
                        weight = wp.max(sharpness(place, now, width, height), 0.05)
                    else:
                        count = wp.min(count, MOVED_SAMPLES)
                    found = wp.vec4(known[0], known[1], known[2], count)
    light = wp.cw_div(radiance[pixel], albedo)
    fresh[pixel] = wp.vec4(light[0], light[1], light[2], weight)
    old[pixel] = found
    anchors[pixel] = anchor


@wp.kernel(enable_backward=False)
def blend(
    film: FilmRecord,
    hits: HitArrays,
    fresh: wp.array[wp.vec4],
    old: wp.array[wp.vec4],
    samples: float,
    base: int,
    light: wp.array[wp.vec3],
    count: wp.array[float],
):
    """Average the new light of the pixel `base + tid` with the old, as far as the new samples around it do not contradict."""
    pixel = base + wp.tid()
    here = old[pixel]
    known = wp.min(here[3], MOST_SAMPLES)
    if known > 0.0:
        width = int(film.size[0])
        height = int(film.size[1])
        px = pixel % width
        py = pixel // width
        p = hits.position[pixel]
        n = hits.normal[pixel]
        depth = hits.depth[pixel]
        total = float(0.0)
        squares = float(0.0)
        before = float(0.0)
        taken = float(0.0)
        for j in range(-RADIUS, RADIUS + 1):
            for i in range(-RADIUS, RADIUS + 1):
                x = px + i
                y = py + j
                if x >= 0 and y >= 0 and x < width and y < height:
                    other = y * width + x
                    if old[other][3] > 0.0 and is_same_surface(
                        hits.shape[pixel], p, n, depth, hits.shape[other], hits.position[other], hits.normal[other]
                    ):
                        luminance = wp.dot(wp.vec3(fresh[other][0], fresh[other][1], fresh[other][2]), LUMINANCE)
                        total += luminance
                        squares += luminance * luminance
                        before += wp.dot(wp.vec3(old[other][0], old[other][1], old[other][2]), LUMINANCE)
                        taken += 1.0
        if taken >= 9.0:
            mean = total / taken
            error = wp.sqrt(wp.max(squares / taken - mean * mean, 0.0) / (taken - 1.0))
            if wp.abs(mean - before / taken) > STALE_ERRORS * error + 1.0e-4 * wp.abs(mean):
                known = wp.min(known, STALE_SAMPLES)
    found = fresh[pixel]
    more = samples * wp.where(samples > 1.0, 1.0, found[3])
    weight = more / (known + more)
    light[pixel] = wp.vec3(here[0], here[1], here[2]) * (1.0 - weight) + wp.vec3(found[0], found[1], found[2]) * weight
    count[pixel] = wp.min(known + more, MOST_SAMPLES)


@wp.kernel(enable_backward=False)
def show(
    camera: CameraRecord,
    film: FilmRecord,
    hits: HitArrays,
    keeps: wp.array[int],
    light: wp.array[wp.vec3],
    count: wp.array[float],
    anchors: wp.array[wp.vec3],
    base: int,
    shown: wp.array[wp.vec3],
):
    """The radiance to show in the pixel `base + tid`, from the anchors of its surface in and around it.

    Where there are many samples, the weights of anchors fall off within a pixel; where there are few, hardly.
    """
    pixel = base + wp.tid()
    shape = hits.shape[pixel]
    if shape < 0 or keeps[hits.material[pixel]] == 0:
        shown[pixel] = wp.cw_mul(light[pixel], divisor(wp.where(shape < 0, wp.vec3(1.0), hits.albedo[pixel])))
        return
    width = int(film.size[0])
    height = int(film.size[1])
    px = pixel % width
    py = pixel // width
    center = wp.vec3((float(px) + 0.5) / film.size[0], (float(py) + 0.5) / film.size[1], 0.0)
    p = hits.position[pixel]
    n = hits.normal[pixel]
    depth = hits.depth[pixel]
    blur = wp.max(1.0 - count[pixel] / FEW_SAMPLES, 0.0)
    radius = wp.where(blur > 0.0, RADIUS, 1)
    total = wp.vec3(0.0)
    weight = float(0.0)
    for j in range(-radius, radius + 1):
        for i in range(-radius, radius + 1):
            x = px + i
            y = py + j
            if x >= 0 and y >= 0 and x < width and y < height:
                other = y * width + x
                if is_same_surface(shape, p, n, depth, hits.shape[other], hits.position[other], hits.normal[other]):
                    near = sharpness(on_film(camera, anchors[other]), center, film.size[0], film.size[1])
                    w = count[other] * wp.max(near, blur)
                    total += w * light[other]
                    weight += w
    shown[pixel] = wp.cw_mul(total / weight, divisor(hits.albedo[pixel]))


@dataclass(frozen=True)
class Surfaces:
    """What a frame sees first in each pixel, and from where.

    Attributes:
        camera, film: Camera and film as kernels read them.
        hits: First hits of one sample per pixel.
        keeps: For each material, whether its surfaces keep what earlier frames found, int [materials].
        width, height: Size of the frame [pixels].
    """

    camera: CameraRecord
    film: FilmRecord
    hits: HitArrays
    keeps: wp.array
    width: int
    height: int


class Reprojection:
    """Averages frames of a moving camera.

    Args:
        launcher: Launches kernels on the device.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._history = HistoryRecord()
        self.forget()

    def forget(self) -> None:
        """Forget the frames so far, as after an edit."""
        self._history = HistoryRecord()
        self._history.width = self._history.height = 0

    def load_kernels(self) -> None:
        """Load the kernels, compiling them on the first run."""
        wp.load_module(reproject.module, device=self._launcher.device)

    @property
    def has_history(self) -> bool:
        """Whether there is a frame to average with."""
        return self._history.width > 0

    def add(self, radiance: np.ndarray, seen: Surfaces, samples: int, *, keeps: bool = True) -> np.ndarray:
        """Average a new frame with what is known, and return the picture.

        Args:
            radiance: The new frame, linear, shape [height, width, 3], float32.
            seen: What it sees.
            samples: Samples per pixel of the new frame.
            keeps: Whether the result becomes what is known.

        Returns:
            Linear radiance, shape [height, width, 3], float32.
        """
        device, pixels = self._launcher.device, seen.width * seen.height
        given = wp.array(radiance.reshape(-1, 3), dtype=wp.vec3, device=device)
        shown, light, anchors = (wp.empty(pixels, dtype=wp.vec3, device=device) for _ in range(3))
        fresh, old = (wp.empty(pixels, dtype=wp.vec4, device=device) for _ in range(2))
        count = wp.empty(pixels, dtype=float, device=device)
        camera, film, hits, materials, history = seen.camera, seen.film, seen.hits, seen.keeps, self._history
        self.load_kernels()
        self._launcher.run(
            reproject, pixels, lambda base: [camera, film, hits, given, materials, history, base, fresh, old, anchors]
        )
        weight = float(samples)
        self._launcher.run(blend, pixels, lambda base: [film, hits, fresh, old, weight, base, light, count])
        self._launcher.run(
            show, pixels, lambda base: [camera, film, hits, materials, light, count, anchors, base, shown]
        )
        if keeps:
            self._history = record = HistoryRecord()
            record.light, record.count, record.shape = light, count, hits.shape
            record.position, record.normal = anchors, hits.normal
            record.camera, record.width, record.height = camera, seen.width, seen.height
        return shown.numpy().reshape(seen.height, seen.width, 3)
