"""Frames of rendering and training that a GPU runs alone: nothing in them waits for the host.

Where the host would ask how many queries or records there are, kernels read the number from device memory, and work is launched
for the largest possible number. The device also adapts the number of training paths. What the host decides from frame to frame
(index of the sample, learning rate, share of unbiased suffixes) it writes to device memory before the frame.
"""

from __future__ import annotations

from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import TRAIN
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.marked import Marked
from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.cache.path_source import FilmArrays, PathSource, make_cuts, tiles_of
from nrc_tracer.cache.queries import add_to_film, draw_batch, predict_ends, targets_of
from nrc_tracer.cache.records import IN_CACHE
from nrc_tracer.cache.rendering import cut_mode
from nrc_tracer.cache.residuals import Residuals
from nrc_tracer.cache.state import ImageState
from nrc_tracer.cache.tiles import PATHS_PER_RECORD, choose_tiles
from nrc_tracer.cache.training import TRAINING_STREAM
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.recording import Recording, Stopwatch


class RecordedRendering:
    """Adds samples to a film in frames whose parts are each launched as a whole, like `Rendering`, but not in mode `unbiased`.

    It is made for one scene, camera and film, and valid while `fits` is true.

    Args:
        cache: The cache, made with `fused=True`.
        mode: What the cache is used for: `on`, `raw` or `view`.
        source: What traces paths.
        film: The film's sums.
        buffers: Room for one path through each pixel.
        watch: Adds up the time of tracing and of queries.
        residuals: Sums for what continued paths find beyond the predictions; only in mode `on`.
    """

    def __init__(
        self,
        cache: RadianceCache,
        mode: CacheMode,
        source: PathSource,
        film: FilmArrays,
        buffers: RecordBuffers,
        watch: Stopwatch,
        residuals: Residuals | None,
    ) -> None:
        self._cache, self._source, self._film, self._buffers, self._watch = cache, source, film, buffers, watch
        self._made_for = _baked(cache)
        self._probability = 0.0 if residuals is None else cache.options.correction
        self._cuts = make_cuts(cache, source, cut_mode(mode), 0, self._probability)
        self._residuals = None if residuals is None else (residuals.record(), self._cuts.sample)
        device = source.launcher.torch_device
        self._features = torch.zeros((buffers.paths, FEATURES), device=device)
        self._counts = torch.zeros(3, dtype=torch.int64, device=device)
        self._trace, self._query = Recording(source.launcher), Recording(source.launcher)

    @property
    def is_recorded(self) -> bool:
        """Whether a GPU replays the frame from recordings."""
        return self._trace.is_recorded and self._query.is_recorded

    def fits(self) -> bool:
        """Whether the frame is still valid: trainer, weights, gain and scale of the cache are those it was made for."""
        return _is_same(self._made_for, _baked(self._cache))

    def render(self, sample: int, image: ImageState) -> None:
        """Add sample number `sample` to every pixel; its queries and vertices are counted by `collect`."""
        self._cuts.sample.fill_(sample)
        with self._watch.time("trace"):
            self._trace(self._trace_paths)
        with self._watch.time("query"):
            self._query(self._add_predictions)
        image.paths += self._buffers.paths

    def collect(self, image: ImageState) -> None:
        """Wait for the device, and add what it has counted since the last call."""
        queries, query_vertices, path_vertices = self._counts.tolist()
        image.queries += queries
        image.query_vertices += query_vertices
        image.path_vertices += path_vertices
        self._counts.zero_()

    def _trace_paths(self) -> None:
        self._source.trace(self._buffers, self._cuts)

    def _add_predictions(self) -> None:
        buffers, launcher = self._buffers, self._source.launcher
        ends = Marked.of(buffers.count > 0, launcher)
        predictions = predict_ends(self._cache, launcher, buffers, ends, room=self._features)
        add_to_film(launcher, buffers, ends, predictions, self._probability, self._film, self._residuals)
        self._counts += torch.cat((ends.count.long(), torch.stack((buffers.depth.sum(), buffers.length.sum()))))


class RecordedTraining:
    """Trains the cache in frames that are each launched as a whole, with a number of paths that the device adapts: as `Training`.

    It is made for one scene and camera, and valid while `fits` is true. In a frame without records the optimizer skips its steps.

    Args:
        cache: The cache, made with `fused=True`, which has a gain.
        source: What traces paths.
        density: Training paths through each pixel, int32 [pixels], to be added to.
        watch: Adds up the time of training.
        paths: Number of paths of the first frame.
        records: Training records of a frame.
        steps: Steps of the optimizer in a frame.
    """

    def __init__(
        self,
        cache: RadianceCache,
        source: PathSource,
        density: Tensor,
        watch: Stopwatch,
        *,
        paths: int,
        records: int,
        steps: int,
    ) -> None:
        self._cache, self._source, self._watch = cache, source, watch
        self._made_for, self._density, self._steps = _baked(cache), density, steps
        self._cuts = make_cuts(cache, source, TRAIN, 0, 1.0, tiles_of(source, min(paths, records)))
        device = source.launcher.torch_device
        self._paths = torch.tensor([paths], dtype=torch.int32, device=device)
        self._buffers = RecordBuffers.allocate(records, cache.options.capacity, device)
        self._path_numbers = torch.arange(records, device=device)
        self._ends, self._features = (torch.zeros((records, FEATURES), device=device) for _ in range(2))
        self._targets = torch.zeros((records, 3), device=device)
        self._bad = torch.zeros(1, dtype=torch.int64, device=device)
        self._frame = Recording(source.launcher)

    @property
    def is_recorded(self) -> bool:
        """Whether a GPU replays the frame from a recording."""
        return self._frame.is_recorded

    def fits(self) -> bool:
        """Whether the frame is still valid: trainer, weights, gain and scale of the cache are those it was made for."""
        return _is_same(self._made_for, _baked(self._cache))

    def train(self, unbiased: float) -> None:
        """Train for one frame in which a share of `unbiased` of the suffixes ends by Russian roulette alone."""
        self._cuts.sample.fill_(self._cache.state.frame)
        self._cuts.probability.fill_(unbiased)
        self._cache.begin_training_frame()
        with self._watch.time("train"):
            self._frame(self._learn)

    def collect(self, image: ImageState) -> None:
        """Wait for the device, and take over the records dropped since the last call and the number of the next frame's paths."""
        state = self._cache.state
        self._cache.state = replace(state, bad_records=state.bad_records + int(self._bad))
        image.training_paths = int(self._paths)
        self._bad.zero_()

    def _learn(self) -> None:
        buffers, source, tiles = self._buffers, self._source, self._cuts.tiles
        launcher = source.launcher
        source.trace(buffers, self._cuts, stream=TRAINING_STREAM)
        self._density.index_add_(0, buffers.pixel, (self._path_numbers < tiles.prod()).to(torch.int32))

        ends = Marked.of(buffers.status == int(IN_CACHE), launcher)
        predictions = predict_ends(self._cache, launcher, buffers, ends, trained=True, room=self._ends)
        targets, is_record = targets_of(launcher, buffers, ends, predictions, buffers.paths)
        found = Marked.of(is_record, launcher)
        self._bad += buffers.count.sum() - ends.count - found.count

        batch, seed = (self._features, self._targets), source.seed(TRAINING_STREAM)
        draw_batch(launcher, buffers, targets, found, seed=seed, frame=self._cuts.sample, into=batch)
        parts = (torch.tensor_split(drawn, self._steps) for drawn in batch)
        for features, target in zip(*parts, strict=True):
            self._cache.take_step(features, target)

        limits = [source.width, source.height, PATHS_PER_RECORD * len(self._targets), buffers.paths]
        memory = [as_warp(found.count), as_warp(self._paths), as_warp(tiles)]
        launcher.run(choose_tiles, 1, lambda base: [base, *limits, *memory])


def _baked(cache: RadianceCache) -> tuple[Any, ...]:
    """The values of a cache that are fixed in a recorded frame. Memory whose contents change in place is not among them."""
    return cache.trainer, cache.model.inference_params, cache.gain, cache.scale


def _is_same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return all(a is b or (isinstance(a, float) and a == b) for a, b in zip(before, now, strict=True))
