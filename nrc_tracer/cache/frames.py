"""Rendering with a radiance cache, frame by frame: carries out what `nrc_tracer.cache.schedule` decides."""

from __future__ import annotations

import dataclasses
import math
import time as clock
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import torch
import warp as wp
from msgspec.structs import replace

from nrc_tracer.cache import schedule
from nrc_tracer.cache.assembly import propagate_targets
from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.correction_kernels import join_blocks
from nrc_tracer.cache.held_out import HeldOut
from nrc_tracer.cache.image_correction import ImageCorrection
from nrc_tracer.cache.layers import cache_layers
from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.cache.path_source import FilmArrays, PathSource
from nrc_tracer.cache.probes import Probes
from nrc_tracer.cache.recorded_frames import RecordedRendering, RecordedTraining
from nrc_tracer.cache.rendering import Rendering
from nrc_tracer.cache.residuals import Residuals
from nrc_tracer.cache.schedule import (
    Done,
    EndFrame,
    EndWarmUp,
    EstimateBias,
    EstimateGain,
    Known,
    Measure,
    Render,
    Train,
)
from nrc_tracer.cache.state import ImageState
from nrc_tracer.cache.tiles import choose_tiles
from nrc_tracer.cache.training import Training, training_path_count
from nrc_tracer.device.recording import Stopwatch
from nrc_tracer.device.torch_launcher import single_threaded_torch

CUDA_STEPS = 4
"""Default number of optimizer steps in a training frame on CUDA."""

CPU_STEP, LEAST_CPU_STEPS = 1024, 8
"""Records of an optimizer step on the CPU, and smallest number of steps in a training frame, by default."""

CPU_RECORDS = 24576
"""Default number of training records of a frame on the CPU."""

LEAST_CUDA_RECORDS = 12288
"""Lower bound of the default number of training records of a frame on CUDA."""

CUDA_RECORDS, CUDA_PIXELS = 65536, 1920 * 1080
"""Default number of training records of a frame on CUDA at this number of pixels; fewer pixels have fewer in proportion."""


class CachedFrames:
    """Adds samples to a film whose paths end in a cache.

    Args:
        cache: The cache, which has begun. Other renderers may use it as well.
        mode: What the cache is used for.
        source: What traces paths; its scene and camera may be replaced between frames.

    Attributes:
        source: What traces paths.
        device: Torch device.
        correction: The residuals that correct the image, in mode `on`; else None.
        records: Training records of a frame.
        steps: Steps of the optimizer in a training frame.
        image: Counters and decisions of this image.
        training_density: Training paths through each pixel since the image began, [pixels], int32.
    """

    def __init__(self, cache: RadianceCache, mode: CacheMode, source: PathSource) -> None:
        self.cache, self.mode, self.source = cache, mode, source
        self.device = source.launcher.torch_device
        self._pixels = RecordBuffers.allocate(source.width * source.height, 1, self.device)
        options, on_cuda = cache.options, self.device.type == "cuda"
        in_proportion = CUDA_RECORDS * self._pixels.paths // CUDA_PIXELS
        on_gpu = min(max(in_proportion, LEAST_CUDA_RECORDS), CUDA_RECORDS)
        self.records = options.records or (on_gpu if on_cuda else CPU_RECORDS)
        self.steps = options.steps or (CUDA_STEPS if on_cuda else max(LEAST_CPU_STEPS, self.records // CPU_STEP))

        self._watch = Stopwatch(source.launcher)
        self._probes = Probes(cache, source, self._watch, twice=mode is CacheMode.UNBIASED)
        self.correction = ImageCorrection(source) if mode is CacheMode.ON else None
        self._residuals = None if self.correction is None else self.correction.residuals
        self._rendering = Rendering(cache, mode, source, self._pixels, self._watch, self._residuals)
        self._training = Training(cache, source, self._watch, records=self.records, steps=self.steps)
        self._recorded_rendering: RecordedRendering | None = None
        self._recorded_training: RecordedTraining | None = None
        self.image = ImageState()
        self.reset()

    # The image

    def reset(self) -> None:
        """Begin a new image, after a change of camera, seed or scene; the cache stays as it is."""
        self._recorded_rendering = self._recorded_training = None
        self.cache.look_from(self.source.eye)
        self.image.begin_image()
        if self.correction is not None:
            self.correction.clear()
        self.training_density = torch.zeros(self._pixels.paths, dtype=torch.int32, device=self.device)

    def forget_view(self) -> None:
        """Forget what was measured, and what was decided by it, before a change of camera or scene."""
        self._probes.forget()
        self.image.continue_probability = None

    def resized(self, source: PathSource) -> CachedFrames:
        """The same for a film of another size, that of `source`; what was decided for the image stays decided."""
        self.collect()
        other = CachedFrames(self.cache, self.mode, source)
        other.image.training_paths = self.image.training_paths
        other.image.continue_probability = self.image.continue_probability
        return other

    def follow_scene(self, *, kept: bool) -> None:
        """Continue with another scene, in which radiance may differ from what the cache has learnt.

        Args:
            kept: Whether the cache has kept what it has learnt, as `RadianceCache.begin` returns it.
        """
        self.forget_view()
        if not kept:
            self.image.training_paths = None
        self._adapt()

    def _adapt(self) -> None:
        self.cache.learn_anew()
        self.cache.state = schedule.begin_adaptation(self.cache.state, self._known())

    # Frames

    @property
    def is_warm(self) -> bool:
        """Whether the warm-up is over."""
        return schedule.is_warm(self.cache.state, self._known())

    @property
    def is_path_tracing(self) -> bool:
        """Whether all paths continue beyond their cut, and nothing is left for the cache to do."""
        return self.mode is CacheMode.UNBIASED and self.image.continue_probability == 1.0

    def warm_up(
        self, *, frames: int | None = None, seconds: float | None = None, stop: Callable[[], bool] | None = None
    ) -> None:
        """Train the cache until its measured bias is small, its budget is used up, or `stop` returns True.

        Args:
            frames: Largest number of frames; 32 unless frames or seconds are given. The option `train_frames`
                overrides both.
            seconds: Longest time [s].
            stop: Called after every frame; True ends the call.

        Raises:
            CacheError: A cache that has learnt nothing is frozen.
        """
        if frames is None and seconds is None:
            frames = schedule.USUAL_WARM_UP
        begin = self._now()
        while not self.is_warm:
            start, before = self._now(), self.cache.state.warm_up_frames
            is_last = (frames is not None and before + 1 >= frames) or (
                seconds is not None and start - begin >= seconds
            )
            self._run(self._known(is_last))
            self.collect()
            state = self.cache.state
            self.cache.state = replace(state, warm_up_seconds=state.warm_up_seconds + self._now() - start)
            if state.warm_up_frames > before and stop is not None and stop():
                break

    def render_frame(self, sample: int, film: FilmArrays) -> None:
        """Add sample number `sample` to every pixel of the film, after the warm-up, and train if this frame is due for it."""
        self._run(self._known(), lambda: self._render(sample, film))

    def train_for(self, frames: int, *, counts: ImageState) -> None:
        """Train and measure as in so many frames of the image, after the warm-up, whose samples were rendered elsewhere.

        Args:
            frames: Number of frames.
            counts: Counts of their paths and queries, to be added to the image's.
        """
        self.image.add(counts)
        for _ in range(frames):
            self._run(self._known())
        self.collect()

    def collect(self) -> None:
        """Take over the counts of recorded frames, if the cache is still the one that they were recorded for."""
        if self._recorded_rendering is not None and self._recorded_rendering.fits():
            self._recorded_rendering.collect(self.image)
        if self._recorded_training is not None and self._recorded_training.fits():
            self._recorded_training.collect(self.image)

    def _known(self, budget_is_over: bool = False) -> Known:
        return Known(
            # It matters to a frozen cache only; a fused one that trains would have to wait for the device
            is_trained=not self.cache.options.freeze or self.cache.is_trained,
            has_light=self.cache.gain > 0.0,
            is_unbiased=self.mode is CacheMode.UNBIASED,
            is_decided=self.image.continue_probability is not None,
            credit_per_frame=self._pixels.paths / (schedule.PIXELS_PER_RECORD * self.records),
            budget_is_over=budget_is_over,
        )

    def _now(self) -> float:
        """The time [s] once the device has finished its work."""
        wp.synchronize_device(self.source.launcher.device)
        return clock.perf_counter()

    def _run(self, known: Known, render: Callable[[], None] | None = None) -> None:
        """Carry out the actions of one frame."""
        cache, done, action = self.cache, Done(), None
        with single_threaded_torch(self.source.launcher):
            while not isinstance(action, EndFrame | EndWarmUp):
                action = schedule.next_action(cache.state, cache.options, known, done)
                if isinstance(action, Measure):
                    self._probes.measure()
                elif isinstance(action, EstimateBias):
                    known = dataclasses.replace(known, bias=self._probes.bias())
                elif isinstance(action, EstimateGain):
                    known = dataclasses.replace(known, perfect_gain=self._probes.found().perfect_cost().gain)
                elif isinstance(action, Train):
                    self._train(action)
                elif isinstance(action, Render) and render is not None:
                    render()
                elif isinstance(action, EndWarmUp):
                    self._end_warm_up(action)
                cache.state = schedule.state_after(cache.state, action, cache.options, known, done)
                done = schedule.done_after(done, action)

    def _end_warm_up(self, action: EndWarmUp) -> None:
        if action.adapts:
            self.cache.learn_anew()
        if self.mode is CacheMode.UNBIASED:
            cost = self._probes.found().cost(self.cache.predict)
            self.image.continue_probability = schedule.continue_probability(cost)

    @property
    def _runs_alone(self) -> bool:
        """Whether frames run on the device alone. The host is needed until the cache has seen light, and in mode `unbiased`."""
        return self.cache.options.fused and self.cache.gain > 0.0 and self.mode is not CacheMode.UNBIASED

    def _render(self, sample: int, film: FilmArrays) -> None:
        if not self._runs_alone:
            self._rendering.render(sample, film, self.image)
            return
        if self._recorded_rendering is None or not self._recorded_rendering.fits():
            self._recorded_rendering = RecordedRendering(
                self.cache,
                self.mode,
                self.source,
                film,
                self._pixels,
                self._watch,
                self._residuals,
            )
        self._recorded_rendering.render(sample, self.image)

    def _train(self, action: Train) -> None:
        if not self._runs_alone or action.measures_scale:
            self.collect()  # before the cache changes so that recorded frames no longer fit
            self._training.train(
                action.unbiased, self.image, self.training_density, measures_scale=action.measures_scale
            )
            return
        if self._recorded_training is None or not self._recorded_training.fits():
            self._recorded_training = RecordedTraining(
                self.cache,
                self.source,
                self.training_density,
                self._watch,
                paths=training_path_count(self.image, self.records),
                records=self.records,
                steps=self.steps,
            )
        self._recorded_training.train(action.unbiased)

    def layers(self, samples: int) -> dict[str, np.ndarray]:
        """The layers of the cache that `cache_layers` makes, from the image's first `samples` samples."""
        return cache_layers(self.cache, self.source, self.training_density, samples)

    # Files

    def to_bytes(self) -> bytes:
        """The cache and the state of this image, for `restore`."""
        self.collect()
        tensors = self._probes.held_out.tensors()
        if self.correction is not None:
            tensors |= self.correction.residuals.tensors()
        return self.cache.to_bytes(self.image, tensors)

    def restore(self, data: bytes) -> None:
        """Continue from the result of `to_bytes`, to the same bits.

        Raises:
            CacheError, SnapshotError: The bytes are damaged or not a cache.
        """
        file = self.cache.read_bytes(data)
        extra = file.extra
        paths = {name: tensor for name, tensor in extra.items() if not Residuals.is_name(name)}
        held_out = HeldOut.from_tensors(paths, self.device)
        if self.correction is not None:
            self.correction.residuals.check(extra)
        self.cache.restore(file, device=self.device, threads=self.source.launcher.threads)
        self._probes.held_out, self.image = held_out, file.image or ImageState()
        if self.correction is not None:
            self.correction.assign(extra)

    def load_kernels(self) -> None:
        """Load the kernels of frames and of the network, compiling them on the first run."""
        for kernel in self._kernels():
            wp.load_module(kernel.module, device=self.source.launcher.device)
        self.cache.load_kernels()

    def _kernels(self) -> list[wp.Kernel]:
        """One kernel of each module that frames use."""
        fused = [choose_tiles] if self.cache.options.fused else []
        return [propagate_targets, *fused, *([] if self.correction is None else [join_blocks])]

    def identity(self) -> dict[str, Any]:
        """The properties of the cache that determine the image's bits, besides those of the tracer and the renderer."""
        code = [kernel.module.get_module_hash().hex()[:16] for kernel in self._kernels()]
        options = msgspec.to_builtins(self.cache.options)
        return {
            "mode": self.mode.value,
            **self.cache.identity(),
            "kernels": code,
            **options,
        }

    # Numbers

    def seconds(self) -> dict[str, float]:
        """Time spent so far on each part of the work [s]: `trace`, `query`, `train` and `measure`."""
        return dict.fromkeys(("trace", "query", "train", "measure"), 0.0) | self._watch.seconds()

    def report(self) -> dict[str, Any]:
        """Statistics so far as JSON data. The bias is measured now if it was not measured before.

        * `bias` and `bias_error`: relative bias of its predictions at the ends of paths, weighted as in the image, and the
          standard error of that estimate; above 0 the cache is too bright, None without light;
        * `warm_up_frames`, `warm_up_seconds`; `frames` with those after it;
        * `training_steps` and `skipped_steps` of a network, or `records` and `voxels`;
        * `seconds`: time spent on tracing, queries, training and measuring;
        * `mean_path_length`, `mean_query_depth`, `queries_per_path`; `bad_records`, which were not finite and so dropped;
        * in mode `unbiased`: `continue_probability`, and the variances and costs that it comes from.
        """
        cache, image = self.cache, self.image
        state, bias, paths = cache.state, self._probes.bias(), max(image.paths, 1)
        report = {
            "mode": self.mode.value,
            **cache.numbers(),
            "frames": state.frame,
            "warm_up_frames": state.warm_up_frames,
            "warm_up_seconds": state.warm_up_seconds,
            "seconds": self.seconds(),
            "converged": bias.is_small,
            "bias": bias.value,
            "bias_error": bias.error,
            "mean_path_length": image.path_vertices / paths if image.paths else None,
            "mean_query_depth": image.query_vertices / max(image.queries, 1),
            "queries_per_path": image.queries / paths,
            "bad_records": state.bad_records,
            "gain": cache.gain,
        }
        if image.continue_probability is not None:
            report["continue_probability"] = image.continue_probability
            report |= dataclasses.asdict(self._probes.found().cost(cache.predict))
        return {name: _plain(value) for name, value in report.items()}


def _plain(value: Any) -> Any:
    """None for a number that is not finite, which JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
