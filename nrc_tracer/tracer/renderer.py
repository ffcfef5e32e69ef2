"""Rendering step by step: samples are added to a film, and the image so far is available at any time."""

from __future__ import annotations

import math
import os
import time as clock
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import warp as wp

from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.cache.nonnegative import without_negatives
from nrc_tracer.device.launch import Launcher, initialize
from nrc_tracer.device.render_device import find_render_device
from nrc_tracer.errors import CheckpointError, NrcError
from nrc_tracer.imaging.image import Image
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer.checkpoint import Checkpoint, Identity, read_checkpoint, write_checkpoint
from nrc_tracer.tracer.choices import find_accel, known_kind, whole_number
from nrc_tracer.tracer.film_sums import BlockSums, FilmSums, add_finished_block
from nrc_tracer.tracer.fingerprint import machine_settings
from nrc_tracer.tracer.image_layers import ImageLayers
from nrc_tracer.tracer.layers import first_hits
from nrc_tracer.tracer.path import trace_paths
from nrc_tracer.tracer.path_inputs import CameraChoice, PathInputs, choose_depth, choose_film
from nrc_tracer.tracer.strips import CUDA_SAMPLES, StripTracer
from nrc_tracer.tracer.vocabulary import SamplerKind

if TYPE_CHECKING:
    from nrc_tracer.cache import RadianceCache
    from nrc_tracer.cache.correction import Correction
    from nrc_tracer.cache.frames import CachedFrames

PASS_SECONDS = 0.5
"""Duration that `suggested_pass` aims at [s]."""


class Renderer:
    """Adds samples to a film.

    Each sample depends on the seed, its pixel and its index alone. They are summed in float64, in blocks of 64 samples that are
    added in order: the image is the same, bit for bit, however the samples are spread over steps, launches and threads. With a
    cache that holds on the CPU.

    Args:
        scene: What to render.
        device: `cpu`, `cuda:0`, ...; a CUDA device if there is one, unless given.
        threads: Threads on the CPU; one per core unless given.
        accel: `embree` (CPU only) or `warp`; Embree where it is available, unless given.
        seed: Seed of all random numbers.
        camera: A camera instead of the scene's: the name or index of one of its `cameras`, or any camera.
        width: Width [pixels] instead of the scene's; the height follows unless given.
        height: Height [pixels] instead of the scene's.
        max_depth: Longest path in segments instead of the scene's; -1 is without limit.
        sampler: `sobol` or `independent` instead of the scene's.
        filter: `box`, `tent` or `gaussian` instead of the scene's.
        block_size: Pixels per launch on the CPU. The image does not depend on it.
        cache: A radiance cache that paths end in. It learns while it is used, first in a warm-up before the first sample; a cache
            that is trained already, in another render or loaded from a file, continues from there. Renderers may share one.
        cache_mode: `on`, in which some paths continue beyond the cache and correct the image, coarse to fine; `raw`, without that
            correction; `unbiased`, in which they correct each sample by itself; or `view`, which shows the cache's predictions
            at the first surface.

    Attributes:
        device: The device's name.
        accel: What intersects triangles.
        notice: Why the GPU or Embree is not used although nothing else was chosen, or None.
        width, height: Size of the image [pixels].
        cache_mode: What the cache is used for.
        frames: What renders with the cache, None without one.

    Raises:
        SceneError: The scene asks for something impossible.
        DeviceError: The device or the acceleration structure is not available.
        NrcError: A choice is unknown or out of range.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        device: str | None = None,
        threads: SupportsIndex | None = None,
        accel: str | None = None,
        seed: SupportsIndex = 0,
        camera: CameraChoice = None,
        width: SupportsIndex | None = None,
        height: SupportsIndex | None = None,
        max_depth: SupportsIndex | None = None,
        sampler: str | None = None,
        filter: str | None = None,
        block_size: SupportsIndex = 1024,
        cache: RadianceCache | None = None,
        cache_mode: str = "on",
    ) -> None:
        initialize()
        self.device, without_gpu = find_render_device(device, with_torch=cache is not None)
        self.accel, without_embree = find_accel(accel, self.device)
        self.notice = without_gpu or without_embree
        mode = known_kind("mode of a cache", cache_mode, CacheMode)
        self.cache_mode = mode.value
        thread_count = None if threads is None else whole_number("threads", threads, least=1)
        pixels_per_launch = whole_number("block_size", block_size, least=1)
        description = scene.description
        self._inputs = PathInputs(
            scene,
            choose_film(description, width, height, filter),
            device=self.device,
            threads=thread_count,
            accel=self.accel,
            camera=camera,
            seed=seed,
            sampler=known_kind("sampler", sampler or description.sampler.type, SamplerKind),
            max_depth=choose_depth(description, max_depth),
        )
        self.width, self.height = self._inputs.size
        self._compiled = False
        self._launcher = Launcher(self.device, threads=thread_count, block_size=pixels_per_launch)
        self._sums = FilmSums(self.width, self.height, self._launcher)
        self.frames = None if cache is None else self._begin_cache(cache, mode, pixels_per_launch)
        self.reset()

    @property
    def cache(self) -> RadianceCache | None:
        """The radiance cache, if there is one."""
        return None if self.frames is None else self.frames.cache

    def _begin_cache(self, cache: RadianceCache, mode: CacheMode, block_size: int) -> CachedFrames:
        from nrc_tracer.cache.frames import CachedFrames  # which loads torch
        from nrc_tracer.tracer.cut_tracer import CutTracer

        self._begin_network(cache)
        source = CutTracer(self._inputs, device=self.device, threads=self._launcher.threads, block_size=block_size)
        return CachedFrames(cache, mode, source)

    def _begin_network(self, cache: RadianceCache) -> bool:
        """Make the cache's network for the scene; return whether the cache keeps what it has learnt."""
        device = wp.device_to_torch(wp.get_device(self.device))
        seed = int(self._inputs.settings.seed)
        return cache.begin(*self._inputs.box, device=device, threads=self._launcher.threads, seed=seed)

    def reset(self, *, seed: SupportsIndex | None = None, camera: CameraChoice = None) -> None:
        """Begin a new image of the same scene, with another seed or camera if one is given."""
        if seed is not None:
            self._inputs.set_seed(seed)
        if camera is not None:
            self._inputs.set_camera(camera)
        self._seconds = self._warm_up_seconds = 0.0
        self._sums.clear()
        if self.frames is not None:
            if camera is not None:
                self.frames.forget_view()
            self.frames.reset()

    def update(self, scene: Scene) -> str | None:
        """Begin a new image of another scene, or of the same after a change, with the same film and settings.

        The camera is the new scene's, unless the renderer was given another. A cache trains in every frame for a while, and
        what has changed is forgotten within some tens of frames. A cache whose cube is smaller than the scene is reset.

        Returns:
            What became of the cache: `kept` or `reset`; None without one.

        Raises:
            SceneError: The scene asks for something impossible.
            DeviceError: The device has no room for it.
        """
        self._inputs.set_scene(scene)
        kept = None
        if self.frames is not None:
            kept = self._begin_network(self.frames.cache)
            self.frames.follow_scene(kept=kept)
        self.reset()
        return {None: None, True: "kept", False: "reset"}[kept]

    def compile(self) -> float:
        """Load the kernels, compiling them on the first run; return the time this took [s]."""
        start = clock.perf_counter()
        for kernel in (*self._path_kernels(), add_finished_block):
            wp.load_module(kernel.module, device=self.device)
        if self.frames is not None:
            self.frames.load_kernels()
        self._compiled = True
        return clock.perf_counter() - start

    def _path_kernels(self) -> list[wp.Kernel]:
        """The kernels that trace this image's paths."""
        if self.frames is None:
            return [trace_paths]
        from nrc_tracer.tracer.cut_path import trace_cut_paths

        also = {CacheMode.UNBIASED: [trace_paths], CacheMode.ON: [first_hits]}  # first hits guide the correction
        return [trace_cut_paths, *also.get(CacheMode(self.cache_mode), [])]

    def step(self, samples: SupportsIndex = 1) -> None:
        """Add `samples` samples to every pixel.

        Ctrl-C during a step ends it and begins a new image; `run` waits for the step's end instead.
        """
        count = whole_number("samples", samples, least=1)
        if not self._compiled:  # before threads launch: two first launches at once compile twice
            self.compile()
        self.warm_up()
        start = clock.perf_counter()
        longest = count if self.device == "cpu" else CUDA_SAMPLES  # sums do not depend on it
        try:
            for first, span in self._sums.spans(count, longest):
                self._launch(first, span)
        except BaseException:
            self.reset()  # some pixels have these samples and some have not
            raise
        self._seconds += clock.perf_counter() - start

    def _launch(self, first: int, count: int) -> None:
        """Add samples `first` .. `first + count - 1` to every pixel."""
        if self.frames is not None and not self.frames.is_path_tracing:
            for sample in range(first, first + count):
                self.frames.render_frame(sample, self._sums.arrays)
            self.frames.collect()
            wp.synchronize_device(self.device)
            return
        before = (*self._inputs.records, first, count)
        self._launcher.run(trace_paths, self.width * self.height, lambda base: [*before, base, *self._sums.arrays])

    def strip_tracer(self) -> StripTracer:
        """What sums blocks of this image's samples without a cache, apart from the film."""
        return StripTracer(self._inputs, self._launcher)

    def add_block(self, block: BlockSums, samples: int, *, seconds: float = 0.0) -> None:
        """Add the next block, whose `samples` samples per pixel were summed elsewhere in `seconds`: see `FilmSums.add_block`."""
        correction = None if self.frames is None else self.frames.correction
        if (correction is None) != (block.residuals is None):
            raise ValueError("a block has residuals if, and only if, the image is corrected by them")
        self._sums.add_block(block, samples)
        if correction is not None and block.residuals is not None:
            correction.add(block.residuals)
        self._seconds += seconds

    def warm_up(
        self,
        *,
        frames: SupportsIndex | None = None,
        seconds: float | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> bool:
        """Train the cache before the first sample, until its measured bias is small; without a cache there is nothing to do.

        Args:
            frames: Largest number of frames; 32 unless frames or seconds are given. The cache's `train_frames` overrides both.
            seconds: Longest time [s].
            stop: Called after every frame; True ends the call.

        Returns:
            Whether the warm-up is over.
        """
        if self.frames is None:
            return True
        if not self._compiled:
            self.compile()
        most = None if frames is None else whole_number("frames", frames)
        start = clock.perf_counter()
        self.frames.warm_up(frames=most, seconds=seconds, stop=stop)
        self._warm_up_seconds += clock.perf_counter() - start
        return self.frames.is_warm

    def cache_report(self) -> dict[str, Any]:
        """What the cache did, in numbers, as `CachedFrames.report` describes them; empty without a cache.

        In mode `on` there are also `correction`, the mean of what is added to the cached image for red, green and blue, and
        `correction_error`, its standard errors.
        """
        if self.frames is None:
            return {}
        found = self._correction()
        means = {"correction": found.mean.tolist(), "correction_error": found.mean_error.tolist()} if found else {}
        return self.frames.report() | means

    def suggested_pass(self) -> int:
        """Samples for the next step, so that it takes about half a second."""
        return max(1, min(int(PASS_SECONDS / self.seconds_per_sample), 4 * self.samples))

    @property
    def max_depth(self) -> int | None:
        """Longest path in segments, None without limit."""
        return self._inputs.max_depth

    @property
    def samples(self) -> int:
        """Samples per pixel so far."""
        return self._sums.samples

    @property
    def seconds(self) -> float:
        """Time spent in `step` and `warm_up` [s]."""
        return self._seconds + self._warm_up_seconds

    @property
    def seconds_per_sample(self) -> float:
        """Mean time of one sample of every pixel so far [s], without the warm-up of a cache."""
        return max(self._seconds, 1e-6) / max(self.samples, 1)

    @property
    def dropped(self) -> int:
        """Samples dropped so far because they were not finite."""
        return int(self._sums.dropped().sum())

    def dropped_pixels(self) -> list[tuple[int, int]]:
        """The pixels (x, y) that lost samples."""
        y, x = np.nonzero(self._sums.dropped())
        return list(zip(x.tolist(), y.tolist(), strict=True))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of a sample in each pixel, shape [height, width, 3] each, float64.

        With a cache, samples are those before the correction of the image. The variance is the unbiased estimate for independent
        samples; Sobol samples of a pixel are not independent.
        """
        return self._sums.moments()

    def noise(self) -> float:
        """Estimated relative error of the image: the root of its `rel_mse` against the image without noise, 0.05 for 5 %.

        It comes from the variance of the samples in each pixel, as if they were independent: Sobol samples are spread more
        evenly, and their error is usually smaller. Infinity where it is not known: with fewer than two samples, and in mode `on`
        of a cache, whose error is noise and bias.
        """
        return math.inf if self.frames and self.frames.correction else self._sums.noise()

    def layers(self, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Layers of the image by name; all of them unless names are given.

        They show what the camera sees first in each pixel (`albedo`, `normal`, `depth`, `position`, `shape`, `material`), the
        `variance` of a sample, and what a cache did. `nrc_tracer.tracer.image_layers` describes each of them.

        Raises:
            NrcError: There is no layer of that name, or it needs a cache and there is none.
        """
        return self._layers().by_name(names, lambda: self.moments()[1], self.frames, self._sums.dropped())

    def coverage(self) -> np.ndarray:
        """Share of each pixel that shows a surface, [height, width], float32, from the samples that layers are made of."""
        return self._layers().coverage()

    def save_checkpoint(self, path: str | os.PathLike[str]) -> Path:
        """Write all samples so far to a file that `load_checkpoint` continues from; an older one is replaced as a whole.

        Raises:
            CheckpointError: There are no samples yet, or the file cannot be written.
        """
        if self.samples == 0:
            raise CheckpointError(f"{path}: not written, as there are no samples yet")
        cache = np.frombuffer(b"" if self.frames is None else self.frames.to_bytes(), np.uint8)
        done = Checkpoint(samples=self.samples, seconds=self._seconds, cache=cache, **self._sums.contents())
        return write_checkpoint(path, done, self.identity())

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Continue from a checkpoint, to the same bits as a render that was not interrupted, in place of the samples so far.

        Raises:
            CheckpointError: The file is missing, damaged, or of another scene, setting or kind of device, which the message
                names; then nothing has changed.
        """
        checkpoint = read_checkpoint(path, self.identity(), width=self.width, height=self.height)
        if self.frames is not None:
            try:
                self.frames.restore(checkpoint.cache.tobytes())
            except NrcError as error:
                raise CheckpointError(f"{path}: {error}") from error
        self._sums.assign(checkpoint.samples, **checkpoint.film())
        self._seconds = checkpoint.seconds

    def identity(self) -> Identity:
        """What decides the bits of every sample, for files. Threads and launches do not."""
        if not self._compiled:
            self.compile()
        return Identity(
            settings={
                **self._inputs.values(),
                **machine_settings(self.device, self.accel, self._path_kernels()),
                "cache": "off" if self.frames is None else self.frames.identity(),
            },
            scene=self._inputs.digests(),
        )

    def image(self) -> Image:
        """The image of all samples so far; in mode `on` of a cache with its correction, and not below 0."""
        mean, found = self.moments()[0], self._correction()
        mean = mean if found is None else without_negatives(mean + found.values)
        return Image(mean.astype(np.float32), samples=self.samples, dropped=self.dropped)

    def _correction(self) -> Correction | None:
        """What the image lacks, in mode `on` of a cache."""
        return self._layers().correction(self.frames, self._sums.dropped())

    def _layers(self) -> ImageLayers:
        return ImageLayers(self._inputs, self._launcher, self.samples)
