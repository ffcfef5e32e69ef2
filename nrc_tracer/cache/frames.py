"""Rendering with a radiance cache, frame by frame: paths that end in it, paths that train it, and what its error is."""

from __future__ import annotations

import math
import time as clock
from typing import Any

import msgspec
import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.cache.assembly import add_samples, propagate_targets
from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import RENDER, TRAIN, VIEW
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.marked import Marked
from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.cache.path_source import FilmArrays, PathSource, make_cuts, tiles_of
from nrc_tracer.cache.probes import Probes
from nrc_tracer.cache.queries import add_to_film, predict_ends, targets_of
from nrc_tracer.cache.recorded_frames import RecordedRendering, RecordedTraining
from nrc_tracer.cache.records import IN_CACHE
from nrc_tracer.cache.tiles import PATHS_PER_RECORD, choose_tiles, next_path_count
from nrc_tracer.device.random_bits import mix
from nrc_tracer.device.recording import Stopwatch
from nrc_tracer.device.torch_launcher import single_threaded_torch
from nrc_tracer.errors import CacheError

TRAINING_STREAM = 0x7261696E5F6E7263
"""What the seed of training differs by from the image's."""

PROBE_EVERY = 4
"""Frames of the warm-up between measurements."""
LEAST_WARM_UP = 32
"""Frames of the warm-up at least."""
ADAPTATION = 32
"""Frames after a change of the scene in which the cache trains as in the warm-up."""
LATE_TRAINING = 2
"""Instead of `train_every`, for the frames by which a warm-up was shorter than it should be."""
TOLERATED_BIAS = 0.03
"""Relative bias below which the warm-up ends."""

QUERY_COST = 3.0
"""Time of a query in segments of paths, on the CPU: to decide by how many paths go on without asking a clock."""
LEAST_GAIN = 1.1
"""Of time, below which the cache is not worth its corrections: training has its price too."""
PATHS_PER_TRAINING_RECORD = 8
"""Paths of the image for each training record, in a frame that trains."""


class CachedFrames:
    """Adds samples to a film whose paths end in a cache.

    Args:
        cache: The cache, which has begun.
        mode: What is rendered.
        source: What traces paths.

    Attributes:
        source: What traces paths; its scene and camera may be changed between frames.
        device: Torch device.
        training_density: Training paths through each pixel since the image began, [pixels], int32.
    """

    def __init__(
        self,
        cache: RadianceCache,
        mode: CacheMode,
        source: PathSource,
    ) -> None:
        self.cache, self.mode, self.source = cache, mode, source
        self.device = source.launcher.torch_device
        self._watch = Stopwatch(source.launcher)
        pixels = source.width * source.height
        self._pixels = RecordBuffers.allocate(pixels, 1, self.device)
        self._training: RecordBuffers | None = None
        self._rendering_alone: RecordedRendering | None = None
        self._training_alone: RecordedTraining | None = None
        self._probes = Probes(cache, source, self._watch, twice=mode is CacheMode.UNBIASED)
        options, on_cuda = cache.options, self.device.type == "cuda"
        self.steps = options.steps or (4 if on_cuda else 8)
        usual = 65536 * pixels // (1920 * 1080) if on_cuda else 0
        self.records = options.records or min(max(usual, 12288), 65536)
        self.forget_view()
        self.reset()

    def reset(self) -> None:
        """Begin a new image, whose camera, seed or scene may be another; the cache stays as it is."""
        self._rendering_alone = self._training_alone = None
        self._set(paths=0, queries=0, path_vertices=0, query_vertices=0)
        self.training_density = torch.zeros(self._pixels.paths, dtype=torch.int32, device=self.device)

    def forget_view(self) -> None:
        """Measure anew, and decide anew by what is measured: what there is was seen of another scene, or by another camera."""
        self._probes.forget()
        self.cache.progress.pop("continue_probability", None)

    def follow_scene(self) -> None:
        """Go on after the source's scene was replaced: what was measured is not of it, and what was learnt may not be."""
        self.forget_view()
        self._adapt()

    def _adapt(self) -> None:
        """Learn in every frame for a while."""
        self.cache.learn_anew()
        self._set(adapt_until=self.frame + ADAPTATION, rescale=self.cache.gain > 0.0)

    # State that decides the next frames. It is kept in the cache, and so in its files

    @property
    def frame(self) -> int:
        """Frames in which the cache has trained or could have."""
        return self.cache.progress.get("frame", 0)

    @property
    def is_warm(self) -> bool:
        """Whether the warm-up is over."""
        decided = self.mode is not CacheMode.UNBIASED or "continue_probability" in self.cache.progress
        return bool(self.cache.progress.get("warm", False)) and decided

    @property
    def warm_up_frames(self) -> int:
        """Frames of the warm-up so far."""
        return self.cache.progress.get("warm_up_frames", 0)

    def _set(self, **progress: Any) -> None:
        self.cache.progress.update(progress)

    def _add(self, **counts: int) -> None:
        for name, count in counts.items():
            self.cache.progress[name] += count

    def identity(self) -> dict[str, Any]:
        """What decides the bits of the image besides the renderer's own settings."""
        options = msgspec.to_builtins(self.cache.options)
        kernels = [add_samples, propagate_targets]
        if self.cache.options.fused:
            kernels.append(choose_tiles)
        code = [kernel.module.get_module_hash().hex()[:16] for kernel in kernels]
        return {"mode": self.mode.value, "precision": self.cache.model.precision, "kernels": code, **options}

    def seconds(self) -> dict[str, float]:
        """Time spent so far on parts of the work [s]: `trace`, `query`, `train` and `measure`."""
        return dict.fromkeys(("trace", "query", "train", "measure"), 0.0) | self._watch.seconds()

    # Frames

    def _now(self) -> float:
        """The time [s] when all that a GPU was given to do is done."""
        wp.synchronize_device(self.source.launcher.device)
        return clock.perf_counter()

    def warm_up_frame(self, budget_is_over: bool) -> None:
        """Train for one frame, and find out whether the warm-up is over."""
        options = self.cache.options
        start = self._now()
        with single_threaded_torch(self.source.launcher):
            if self.warm_up_frames % PROBE_EVERY == 0:
                self._probes.measure()
            self._train(options.warm_up_unbiased)
            frames = self.warm_up_frames + 1
            self._set(warm_up_frames=frames, frame=self.frame + 1)
            if options.train_frames is not None:
                over = frames >= options.train_frames
            else:
                over = budget_is_over
                if not over and frames % PROBE_EVERY == 0:
                    over = frames >= LEAST_WARM_UP and self._has_converged()
            if over:
                self.end_warm_up()
            self.collect()
        self._set(warm_up_seconds=self.cache.progress.get("warm_up_seconds", 0.0) + self._now() - start)

    def _is_of_no_use(self) -> bool:
        """Whether even a perfect cache would be corrected at more cost than it saves."""
        chosen = self.cache.options.train_frames is not None
        if self.mode is not CacheMode.UNBIASED or chosen or self.warm_up_frames > 0:
            return False
        return self._probes.found().perfect(QUERY_COST)["gain"] < LEAST_GAIN

    def _has_converged(self) -> bool:
        """Whether the measured bias is small, as far as it is known."""
        bias, error = self._probes.bias()
        return is_small(bias, error)

    def skips_warm_up(self) -> bool:
        """End the warm-up if it is to have no frames, or has had them elsewhere, and say whether that is so."""
        options, progress = self.cache.options, self.cache.progress
        if options.freeze and not self.cache.is_trained:
            raise CacheError("freeze: the cache has learnt nothing yet; load one, or let it learn")
        with single_threaded_torch(self.source.launcher):
            if progress.get("warm", False) and not options.freeze:
                # It comes from elsewhere, and may be of something else
                bias, error = self._probes.bias()
                if abs(bias) > TOLERATED_BIAS + 2.0 * error:
                    self._adapt()
            if options.train_frames == 0 or options.freeze or progress.get("warm", False) or self._is_of_no_use():
                self.end_warm_up()
        return self.is_warm

    def end_warm_up(self) -> None:
        """Decide by what was measured how the image is rendered."""
        self._set(warm=True, late_frames=max(0, LEAST_WARM_UP - self.warm_up_frames))
        if self.mode is CacheMode.UNBIASED:
            measured = self._probes.found().variances(self.cache.predict, QUERY_COST)
            useful = measured["gain"] >= LEAST_GAIN
            self._set(continue_probability=measured["best_probability"] if useful else 1.0)

    @property
    def is_path_tracing(self) -> bool:
        """Whether all paths go on, and nothing is left for the cache to do."""
        return self.mode is CacheMode.UNBIASED and self.cache.progress.get("continue_probability") == 1.0

    def render_frame(self, sample: int, film: FilmArrays) -> None:
        """Add sample number `sample` to every pixel, and train where it is time to."""
        with single_threaded_torch(self.source.launcher):
            options, progress, frame = self.cache.options, self.cache.progress, self.frame
            learns = not options.freeze
            if learns and frame < progress.get("adapt_until", 0):
                # First, for what it says of another scene is not to be seen
                if frame % PROBE_EVERY == 0:
                    self._probes.measure()
                self._train(options.warm_up_unbiased)
                self._set(frame=frame + 1, turn=0)
                self._render(sample, film)
                return
            self._render(sample, film)
            if not learns:
                return
            # Training is in proportion to rendering, whatever the size of a frame
            credit = progress.get("credit", 0.0) + self._pixels.paths / (PATHS_PER_TRAINING_RECORD * self.records)
            # Where the budget of the warm-up was too small, it goes on between the frames of the image
            still_warming = options.train_frames is None and progress.get("late_frames", 0) > 0
            every = min(options.train_every, LATE_TRAINING) if still_warming else options.train_every
            if credit >= every:
                credit -= every
                if still_warming:
                    self._train(options.warm_up_unbiased)
                    self._set(late_frames=progress["late_frames"] - 1)
                else:
                    turn = progress.get("turn", 0)
                    self._train(max(options.unbiased, 0.5 ** (1 + turn // 4)))
                    self._set(turn=turn + 1)
            self._set(credit=min(credit, float(every)), frame=frame + 1)

    def collect(self) -> None:
        """Take over what frames without the host have counted, if the cache is still the one that they were for."""
        if self._rendering_alone is not None and self._rendering_alone.fits():
            self._add(**self._rendering_alone.collect())
        if self._training_alone is not None and self._training_alone.fits():
            bad, paths = self._training_alone.collect()
            self.cache.bad_records += bad
            self._set(training_paths=paths)

    @property
    def _goes_alone(self) -> bool:
        """Whether frames need the host no more: it finds out how bright the scene is, and makes unbiased samples."""
        return self.cache.options.fused and self.cache.gain > 0.0 and self.mode is not CacheMode.UNBIASED

    def _render(self, sample: int, film: FilmArrays) -> None:
        probability = 0.0
        if self.mode is CacheMode.UNBIASED:
            probability = self.cache.progress.get("continue_probability", 1.0)
        if self._goes_alone:
            if self._rendering_alone is None or not self._rendering_alone.fits():
                self._rendering_alone = RecordedRendering(
                    self.cache, self.mode, self.source, film, self._pixels, self._watch
                )
            self._rendering_alone.render(sample)
            self._add(paths=self._pixels.paths)
            return
        mode = VIEW if self.mode is CacheMode.VIEW else RENDER
        cuts = make_cuts(self.cache, self.source, mode, sample, probability)
        buffers, launcher = self._pixels, self.source.launcher
        with self._watch.time("trace"):
            self.source.trace(buffers, cuts)
        with self._watch.time("query"):
            ends = Marked.of(buffers.count > 0, launcher)
            if probability < 1.0:
                predictions = predict_ends(self.cache, launcher, buffers, ends)
                self._add(queries=int(ends.count), query_vertices=int(buffers.depth.sum()))
            else:
                predictions = torch.zeros((buffers.paths, 3), device=self.device)
            add_to_film(launcher, buffers, ends, predictions, probability, film)
            self._add(paths=buffers.paths, path_vertices=int(buffers.length.sum()))

    def _train(self, unbiased: float) -> None:
        """Trace training paths, of whose suffixes a share of `unbiased` ends by roulette alone, and train on them."""
        cache, progress = self.cache, self.cache.progress
        # Before the cache has seen any light it cannot stand in for it, and a scale is not taken from its own word
        is_changed = progress.get("rescale", False)
        is_scaled = cache.gain == 0.0 or is_changed
        if self._goes_alone and not is_scaled:
            if self._training_alone is None or not self._training_alone.fits():
                self._training_alone = self._recorded_training()
            self._training_alone.train(self.frame, unbiased)
            return
        self.collect()  # while that fits
        with self._watch.time("train"):
            features, targets = self._records(1.0 if is_scaled else unbiased)
            if not len(targets):
                return
            if is_scaled:
                cache.measure_scale(features, targets)
                if is_changed:
                    cache.follow_brightness(features, targets)
                self._set(rescale=False)
            seed = mix(self.source.seed(TRAINING_STREAM), self.frame)
            cache.train(features, targets, records=self.records, steps=self.steps, seed=seed)

    def _recorded_training(self) -> RecordedTraining:
        return RecordedTraining(
            self.cache,
            self.source,
            TRAINING_STREAM,
            self.training_density,
            self._watch,
            paths=self._training_paths(),
            records=self.records,
            steps=self.steps,
        )

    def _training_paths(self) -> int:
        return int(self.cache.progress.get("training_paths", self.records // 4))

    def _records(self, unbiased: float) -> tuple[Tensor, Tensor]:
        """Features and targets of the records of a frame's training paths; how many paths the next has depends on theirs."""
        across, down = tiles_of(self.source, self._training_paths())
        paths = across * down
        if self._training is None or self._training.paths < paths:
            self._training = RecordBuffers.allocate(paths, self.cache.options.capacity, self.device)
        buffers = self._training
        cuts = make_cuts(self.cache, self.source, TRAIN, self.frame, unbiased, (across, down))
        self.source.trace(buffers, cuts, stream=TRAINING_STREAM, paths=paths)
        self.training_density += torch.bincount(buffers.pixel[:paths], minlength=self._pixels.paths)

        launcher = self.source.launcher
        ends = Marked.of(buffers.status[:paths] == int(IN_CACHE), launcher)
        predictions = predict_ends(self.cache, launcher, buffers, ends, trained=True)
        targets, is_record = targets_of(launcher, buffers, ends, predictions, paths)
        chosen = is_record.nonzero()[:, 0]
        self.cache.bad_records += int(buffers.count[:paths].sum()) - int(ends.count) - len(chosen)
        if len(chosen):
            wanted = wp.float64(PATHS_PER_RECORD * self.records)
            self._set(training_paths=int(next_path_count(paths, len(chosen), wanted, self.records)))
        return buffers.features.view(-1, FEATURES)[chosen], targets[chosen]

    def report(self) -> dict[str, Any]:
        """What happened so far, in numbers; where nothing was measured yet, that is done now."""
        cache = self.cache
        bias, error = self._probes.bias()
        progress = cache.progress
        paths = max(progress["paths"], 1)
        report = {
            "mode": self.mode.value,
            "encoding": cache.options.encoding,
            "frames": self.frame,
            "warm_up_frames": self.warm_up_frames,
            "warm_up_seconds": progress.get("warm_up_seconds", 0.0),
            "seconds": self.seconds(),
            "converged": is_small(bias, error),
            "bias": bias,
            "bias_error": error,
            "mean_path_length": progress["path_vertices"] / paths if progress["paths"] else None,
            "mean_query_depth": progress["query_vertices"] / max(progress["queries"], 1),
            "queries_per_path": progress["queries"] / paths,
            "bad_records": cache.bad_records,
            "training_steps": cache.trainer.steps,
            "skipped_steps": cache.trainer.skipped_steps,
            "gain": cache.gain,
        }
        if "continue_probability" in progress:
            report["continue_probability"] = progress["continue_probability"]
            report |= self._probes.found().variances(self.cache.predict, QUERY_COST)
        return {name: _plain(value) for name, value in report.items()}


def is_small(bias: float, error: float) -> bool:
    """Whether a bias is not more than 3 % beyond its standard error, and that is not more than 3 % either."""
    return abs(bias) <= TOLERATED_BIAS + error and error <= TOLERATED_BIAS


def _plain(value: Any) -> Any:
    """JSON has no numbers that are not finite."""
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        return None
    return value
