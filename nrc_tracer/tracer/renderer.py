"""Rendering step by step: a scene on a device, a film that samples are added to, an image at any time."""

from __future__ import annotations

import math
import os
import time as clock
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import warp as wp

from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.device.launch import Launcher, initialize
from nrc_tracer.device.selection import find_device
from nrc_tracer.errors import CheckpointError, NrcError, nearest
from nrc_tracer.imaging.image import Image
from nrc_tracer.scene.cameras import choose_camera
from nrc_tracer.scene.film import resize_film
from nrc_tracer.scene.model import Camera, Scene
from nrc_tracer.scene.validate import validate_scene
from nrc_tracer.tracer.checkpoint import Checkpoint, Identity, read_checkpoint, scene_parts, write_checkpoint
from nrc_tracer.tracer.choices import find_accel, known_name
from nrc_tracer.tracer.device_scene import DeviceScene, camera_record, film_record
from nrc_tracer.tracer.film_sums import FilmSums
from nrc_tracer.tracer.layers import (
    CACHE_LAYERS,
    LAYERS,
    MOST_CACHE_SAMPLES,
    MOST_SAMPLES,
    FirstHits,
    make_layers,
    trace_first_hits,
)
from nrc_tracer.tracer.neural_shapes import with_triangles
from nrc_tracer.tracer.noise import relative_error
from nrc_tracer.tracer.path import trace_paths
from nrc_tracer.tracer.transport import PathSettings
from nrc_tracer.tracer.vocabulary import FilterKind, SamplerKind
from nrc_tracer.version import __version__

if TYPE_CHECKING:
    from nrc_tracer.cache import RadianceCache
    from nrc_tracer.cache.frames import CachedFrames

UNLIMITED = 2**31 - 1
PASS_SECONDS = 0.5
CUDA_SAMPLES = 16
USUAL_WARM_UP = 64
"""Frames of a cache's warm-up at most, where there is no other budget for it."""


class Renderer:
    """Adds samples to a film.

    Each sample depends on the seed, its pixel and its index alone, and sums are taken in float64 in the order of the samples:
    the image is the same, bit for bit, however the samples are spread over steps, blocks and threads. With a cache that holds on
    the CPU.

    Args:
        scene: What to render.
        device: `cpu`, `cuda:0`, ...; a CUDA device if there is one, unless given.
        threads: Threads on the CPU; one per core unless given.
        accel: `embree` (CPU only) or `warp`; Embree where it can be had, unless given.
        seed: Seed of all random numbers.
        camera: Another camera than the scene's: the name or number of one of its `cameras`, or any camera.
        width: Width in pixels instead of the scene's; the height follows unless given.
        height: Height in pixels instead of the scene's.
        max_depth: Longest path in segments instead of the scene's; -1 is without limit.
        sampler: `sobol` or `independent` instead of the scene's.
        filter: `box`, `tent` or `gaussian` instead of the scene's.
        block_size: Pixels per launch on the CPU. The image does not depend on it.
        cache: A radiance cache in which paths shall end. It learns while it is used, first in a warm-up that `step` begins with;
            one that has been trained, in another render or loaded from a file, goes on from there.
        cache_mode: `on`; `unbiased`, which lets some paths go on beyond the cache to correct it; or `view`, to look at what the
            cache says about the first surface.

    Attributes:
        samples: Samples taken in every pixel so far.
        device: The device's name.
        accel: What intersects triangles.
        notice: Why Embree is not used although nobody asked for another, or None.
        cache: The radiance cache, or None.
        cache_mode: What it is used for.

    Raises:
        SceneError: The scene asks for something impossible.
        DeviceError: The device or the acceleration structure cannot be had.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        device: str | None = None,
        threads: int | None = None,
        accel: str | None = None,
        seed: int = 0,
        camera: str | int | Camera | None = None,
        width: int | None = None,
        height: int | None = None,
        max_depth: int | None = None,
        sampler: str | None = None,
        filter: str | None = None,
        block_size: int = 1024,
        cache: RadianceCache | None = None,
        cache_mode: str = "on",
    ) -> None:
        validate_scene(scene)
        initialize()
        self.device = find_device(device)
        self.accel, self.notice = find_accel(accel, self.device)
        description = scene.description
        film = resize_film(description.film, width, height)
        if filter is not None:
            known_name("filter", filter, FilterKind)
            film = msgspec.structs.replace(film, filter=filter, filter_radius=None)
        _, _, self.width, self.height = film.crop or (0, 0, film.width, film.height)

        self._compiled = False
        self._launcher = Launcher(self.device, threads=threads, block_size=block_size)
        scene = with_triangles(scene, self.device, threads)
        self._source, self._parts = scene, None
        self._scene = DeviceScene(scene, self.device, self.accel)
        self._camera_choice = camera
        self._camera_model = choose_camera(description, camera)
        self._camera = camera_record(self._camera_model, film)
        self._film_model, self._film = film, film_record(film)
        self._settings = PathSettings()
        self._settings.sampler = int(
            SamplerKind[known_name("sampler", sampler or description.sampler.type, SamplerKind)]
        )
        self._settings.seed = seed % 2**64
        depth = description.integrator.max_depth if max_depth is None else max_depth
        self._settings.max_depth = UNLIMITED if depth is None or depth < 0 else min(depth, UNLIMITED)
        self._settings.rr_depth = description.integrator.rr_depth

        self._sums = FilmSums(self.width, self.height, self.device)
        self.cache, self._frames = cache, None
        self.cache_mode = CacheMode[known_name("mode of a cache", cache_mode, CacheMode)].value
        if cache is not None:
            self._frames = self._begin_cache(cache, block_size)
        self.reset()

    def _begin_cache(self, cache: RadianceCache, block_size: int) -> CachedFrames:
        # Which load torch
        from nrc_tracer.cache.frames import CachedFrames
        from nrc_tracer.tracer.cut_tracer import CutTracer

        self._begin_network(cache)
        self._cut_tracer = CutTracer(
            self._scene.record,
            self._camera,
            self._film,
            self._settings,
            size=(self.width, self.height),
            device=self.device,
            threads=self._launcher.threads,
            block_size=block_size,
        )
        return CachedFrames(cache, CacheMode(self.cache_mode), self._cut_tracer)

    def _begin_network(self, cache: RadianceCache) -> bool:
        """Make the cache's network for the scene; return whether it knows anything already."""
        device = wp.device_to_torch(wp.get_device(self.device))
        return cache.begin(
            *self._scene.box, device=device, threads=self._launcher.threads, seed=int(self._settings.seed)
        )

    def reset(self, *, seed: int | None = None, camera: str | int | Camera | None = None) -> None:
        """Begin a new image of the same scene, with another seed or seen by another camera if one is given."""
        if seed is not None:
            self._settings.seed = seed % 2**64
        if camera is not None:
            self._camera_choice = camera
            self._camera_model = choose_camera(self._source.description, camera)
            self._camera = camera_record(self._camera_model, self._film_model)
        self.samples = 0
        self._seconds = self._warm_up_seconds = 0.0
        self._sums.clear()
        if self._frames is not None:
            if camera is not None:
                self._frames.forget_view()
            self._cut_tracer.camera = self._camera
            self._frames.reset()

    def update(self, scene: Scene) -> str | None:
        """Begin a new image of another scene, or of the same after a change, with the same film and settings.

        The camera is the new scene's, unless the renderer was given another. A cache that knows the place where the scene is
        goes on with what it has learnt, and learns in every frame for a while: what has changed is forgotten in some tens of
        frames, the rest stays. Where the scene is larger than what the cache knows, it begins anew.

        Returns:
            What became of the cache: `kept` or `reset`; None without one.

        Raises:
            SceneError: The scene asks for something impossible.
            DeviceError: The device has no room for it.
        """
        validate_scene(scene)
        scene = with_triangles(scene, self.device, self._launcher.threads)
        device_scene = DeviceScene(scene, self.device, self.accel)
        self._camera_model = choose_camera(scene.description, self._camera_choice)
        self._camera = camera_record(self._camera_model, self._film_model)
        self._source, self._parts, self._scene = scene, None, device_scene
        outcome = None
        if self._frames is not None:
            kept = self._begin_network(self.cache)
            self._cut_tracer.scene = device_scene.record
            self._frames.follow_scene(kept=kept)
            outcome = "kept" if kept else "reset"
        self.reset()
        return outcome

    def compile(self) -> float:
        """Load the kernels, compiling them on the first run; return the seconds it took."""
        start = clock.perf_counter()
        modules = ["nrc_tracer.tracer.path"]
        if self._frames is not None:
            others = ["nrc_tracer.tracer.cut_path", "nrc_tracer.cache.assembly"]
            if self.cache.options.fused:
                others.append("nrc_tracer.cache.tiles")
            modules = modules + others if self.cache_mode == CacheMode.UNBIASED else others
        for module in modules:
            wp.load_module(module, device=self.device)
        if self.cache is not None:
            self.cache.load_kernels()
        self._compiled = True
        return clock.perf_counter() - start

    def step(self, samples: int = 1) -> None:
        """Add `samples` samples to every pixel.

        Ctrl-C during a step ends it and begins a new image; `run` waits for the step's end instead.
        """
        if samples < 1:
            raise NrcError(f"the number of samples must be at least 1, not {samples}")
        if not self._compiled:  # before threads launch: two first launches at once compile twice
            self.compile()
        self.warm_up()
        start = clock.perf_counter()
        # On CUDA a launch is kept short, for displays whose drivers end long ones; the sum does not depend on it
        longest = CUDA_SAMPLES if self.device != "cpu" else samples
        try:
            for first in range(self.samples, self.samples + samples, longest):
                self._launch(first, min(longest, self.samples + samples - first))
        except BaseException:
            self.reset()  # some pixels have these samples and some have not
            raise
        self.samples += samples
        self._seconds += clock.perf_counter() - start

    def _launch(self, first: int, count: int) -> None:
        """Add samples `first` .. `first + count - 1` to every pixel."""
        if self._frames is not None and not self._frames.is_path_tracing:
            for sample in range(first, first + count):
                self._frames.render_frame(sample, self._sums.arrays)
            self._frames.collect()
            wp.synchronize_device(self.device)
            return
        before = (self._scene.record, self._camera, self._film, self._settings, first, count)
        self._launcher.run(trace_paths, self.width * self.height, lambda base: [*before, base, *self._sums.arrays])

    def warm_up(
        self, *, frames: int | None = None, seconds: float | None = None, stop: Callable[[], bool] | None = None
    ) -> bool:
        """Train the cache before the first sample, until its measured bias is small; without a cache there is nothing to do.

        Args:
            frames: Frames at most; 64 unless frames or seconds are given. The cache's `train_frames` comes before both.
            seconds: Seconds at most.
            stop: Asked after every frame whether to break off.

        Returns:
            Whether the warm-up is over.
        """
        if self._frames is None:
            return True
        if not self._compiled:
            self.compile()
        if frames is None and seconds is None:
            frames = USUAL_WARM_UP
        start = clock.perf_counter()
        while not self._frames.is_warm:
            spent = clock.perf_counter() - start
            done = self._frames.warm_up_frames + 1
            is_last = (frames is not None and done >= frames) or (seconds is not None and spent >= seconds)
            if not self._frames.warm_up_frame(is_last):
                break
            if stop is not None and stop():
                break
        self._warm_up_seconds += clock.perf_counter() - start
        return self._frames.is_warm

    def cache_report(self) -> dict[str, Any]:
        """What the cache did, in numbers: frames, times, its measured bias; empty without a cache.

        * `bias` and `bias_error`: the relative error of what it says at the ends of paths, as the image has it, and the standard
          error of that measurement; above 0 it is too dark, None where nothing was measured;
        * `warm_up_frames`, `warm_up_seconds`; `frames` with those after it; `training_steps` and `skipped_steps`;
        * `seconds`: what went into tracing, queries, training and measuring;
        * `mean_path_length`, `mean_query_depth`, `queries_per_path`; `bad_records` that were left out of training;
        * in mode `unbiased`: `continue_probability` and the variances and costs that it comes from.
        """
        return {} if self._frames is None else self._frames.report()

    def suggested_pass(self) -> int:
        """Samples for the next step, so that it takes about half a second."""
        if self.samples == 0:
            return 1
        return max(1, min(int(PASS_SECONDS / self.seconds_per_sample), 4 * self.samples))

    @property
    def max_depth(self) -> int | None:
        """Longest path in segments, None without limit."""
        return self._settings.max_depth if self._settings.max_depth < UNLIMITED else None

    @property
    def seconds(self) -> float:
        """Time spent in `step` and `warm_up`."""
        return self._seconds + self._warm_up_seconds

    @property
    def seconds_per_sample(self) -> float:
        """Time that a sample of every pixel has taken so far, without the warm-up of a cache."""
        return max(self._seconds, 1e-6) / max(self.samples, 1)

    @property
    def dropped(self) -> int:
        """Samples left out so far because they were not finite."""
        return int(self._sums.dropped().sum())

    def dropped_pixels(self) -> list[tuple[int, int]]:
        """The pixels (x, y) that lost samples."""
        y, x = np.nonzero(self._sums.dropped())
        return list(zip(x.tolist(), y.tolist(), strict=True))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of a sample in each pixel, shape [height, width, 3] each, float64.

        The variance is the unbiased estimate for independent samples; Sobol samples of a pixel are not independent.
        """
        return self._sums.moments(self.samples)

    def noise(self) -> float:
        """Estimated relative error of the image: the root of its `rel_mse` against the image without noise, 0.05 for 5 %.

        It comes from the spread of the samples in each pixel, as if they were independent: for `sobol`, whose samples are
        spread more evenly, the error is usually smaller than this. Infinity with fewer than two samples.
        """
        if self.samples < 2:
            return math.inf
        mean, variance = self.moments()
        return relative_error(mean, variance / self._sums.counts(self.samples))

    def layers(self, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """What the camera sees first in each pixel, by name; all there are unless names are given.

        The means over the image's first 64 samples (all, if it has fewer; one, if it has none yet) of

        * `albedo`, [height, width, 3]: colour of the diffuse base, 1 for glass and mirrors, black where there is nothing;
        * `normal`, [height, width, 3]: shading normal of the side that is seen, in world space; 0 where there is nothing;
        * `depth`, [height, width]: distance along the camera's axis; infinite where there is nothing;
        * `position`, [height, width, 3]: in world space; 0 where there is nothing;

        and of the first sample, with -1 for nothing,

        * `shape`, [height, width], int32: number of the shape, instances counted one by one;
        * `material`, [height, width], int32: 0 is the grey of shapes without one, i the scene's i-th;

        and `variance`, [height, width, 3]: of one sample of the image, as `moments` has it. Surfaces that a mask leaves out
        are looked through.

        With a cache, means over the first 16 samples of

        * `path_length`, [height, width]: vertices of a path;
        * `cache_depth`, [height, width]: which vertex of a path, counted from 1, is the one where it ends in the cache, over
          those that do; 0 where none does;
        * `cache_prediction` and `cache_target`, [height, width, 3]: what the cache says about the first surface that is no
          mirror, and what paths find there, both as the camera sees them;

        and `training_density`, [height, width]: training paths that began in each pixel.

        Raises:
            NrcError: There is no layer of that name, or not without a cache.
        """
        known = LAYERS if self._frames is None else LAYERS + CACHE_LAYERS
        names = known if names is None else names
        for name in names:
            if name not in known:
                without = " without a cache" if name in CACHE_LAYERS else ""
                raise NrcError(f'there is no layer "{name}"{without}{nearest(name, known)}')
        found: dict[str, np.ndarray] = {}
        if any(name in CACHE_LAYERS for name in names):
            from nrc_tracer.cache.layers import cache_layers  # which loads torch

            frames, samples = self._frames, max(1, min(self.samples, MOST_CACHE_SAMPLES))
            found |= cache_layers(self.cache, frames.source, frames.training_density, samples)
        if any(name != "variance" and name in LAYERS for name in names):
            hits, samples = self._first_hits()
            found |= make_layers(hits, width=self.width, height=self.height, samples=samples)
        if "variance" in names:
            found["variance"] = self.moments()[1].astype(np.float32)
        return {name: found[name] for name in names}

    def coverage(self) -> np.ndarray:
        """Share of each pixel that shows a surface, [height, width], float32, by the samples that layers are made of."""
        hits, samples = self._first_hits()
        return (hits.hits.astype(np.float32) / samples).reshape(self.height, self.width)

    def _first_hits(self) -> tuple[FirstHits, int]:
        """What the image's first samples hit first, and how many samples these are."""
        samples = max(1, min(self.samples, MOST_SAMPLES))
        hits = trace_first_hits(
            self._launcher,
            self._scene.record,
            self._camera,
            self._film,
            self._settings,
            pixels=self.width * self.height,
            samples=samples,
        )
        return hits, samples

    def save_checkpoint(self, path: str | os.PathLike[str]) -> Path:
        """Write all samples so far to a file that `load_checkpoint` goes on from; an older one is replaced as a whole.

        Raises:
            CheckpointError: There are no samples yet, or the place cannot be written to.
        """
        if self.samples == 0:
            raise CheckpointError(f"{path}: not written, as there are no samples yet")
        checkpoint = Checkpoint(
            samples=self.samples, seconds=self._seconds, cache=self._cache_bytes(), **self._sums.contents()
        )
        return write_checkpoint(path, checkpoint, self._identity())

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint, to the same bits as a render that was not interrupted, in place of the samples so far.

        Raises:
            CheckpointError: The file is missing, damaged, or of another scene, setting or kind of device, which the message
                names; then nothing has changed.
        """
        checkpoint = read_checkpoint(path, self._identity(), width=self.width, height=self.height)
        if self._frames is not None:
            try:
                self._frames.restore(checkpoint.cache.tobytes())
            except NrcError as error:
                raise CheckpointError(f"{path}: {error}") from error
        self._sums.assign(checkpoint.sums, checkpoint.squares, checkpoint.dropped)
        self.samples, self._seconds = checkpoint.samples, checkpoint.seconds

    def _cache_bytes(self) -> np.ndarray:
        """The state of the cache and its frames, uint8 [bytes]; empty without one."""
        return np.frombuffer(b"" if self._frames is None else self._frames.to_bytes(), np.uint8)

    def _identity(self) -> Identity:
        """What decides the bits of the image beside the number of samples. Threads and blocks do not."""
        if self._parts is None:
            self._parts = scene_parts(self._source)
        if not self._compiled:
            self.compile()
        device, settings = wp.get_device(self.device), self._settings
        return Identity(
            settings={
                **{name: getattr(self._film_model, name) for name in self._film_model.__struct_fields__},
                "camera": msgspec.to_builtins(self._camera_model),
                "seed": int(settings.seed),
                "sampler": SamplerKind(settings.sampler).name.lower(),
                "max_depth": settings.max_depth if settings.max_depth < UNLIMITED else "without limit",
                "rr_depth": settings.rr_depth,
                "device": f"cuda (sm_{device.arch})" if device.is_cuda else "cpu",
                "accel": self.accel.value,
                "release": __version__,
                "path tracing code": [kernel.module.get_module_hash().hex()[:16] for kernel in self._kernels()],
                "cache": "off" if self._frames is None else self._frames.identity(),
            },
            scene=self._parts,
        )

    def _kernels(self) -> list[wp.Kernel]:
        """The kernels that trace this image's paths."""
        if self._frames is None:
            return [trace_paths]
        from nrc_tracer.tracer.cut_path import trace_cut_paths

        return [trace_cut_paths, trace_paths] if self.cache_mode == CacheMode.UNBIASED else [trace_cut_paths]

    def image(self) -> Image:
        """The image of all samples so far."""
        mean, _ = self.moments()
        return Image(mean.astype(np.float32), samples=self.samples, dropped=self.dropped)
