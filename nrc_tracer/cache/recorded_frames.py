"""Frames of the radiance cache that a GPU goes through alone: nothing in them waits for the host.

Where the host would ask how many queries or records there are, kernels find the number in memory, and work is launched for the
most that there can be. The number of training paths is steered on the device too. What the host decides from frame to frame
(which sample, the learning rate, the share of unbiased suffixes) it writes into memory beforehand.
"""

from typing import Any

import torch
from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import RENDER, TRAIN, VIEW
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.marked import Marked
from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.cache.path_source import FilmArrays, PathSource, make_cuts, tiles_of
from nrc_tracer.cache.queries import add_to_film, draw_batch, predict_ends, targets_of
from nrc_tracer.cache.records import IN_CACHE
from nrc_tracer.cache.tiles import PATHS_PER_RECORD, choose_tiles
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.recording import Recording, Stopwatch


class RecordedRendering:
    """Adds samples that end in the cache, or show it, to a film, in frames whose parts are launched as a whole.

    It is made for one scene, camera and film, and for what the cache is now but for its weights.

    Args:
        cache: The cache, made with `fused=True`.
        mode: What is rendered: `on` or `view`.
        source: What traces paths.
        film: The film's sums.
        buffers: Room for a path through each pixel.
        watch: Is told what time the parts take.
    """

    def __init__(
        self,
        cache: RadianceCache,
        mode: CacheMode,
        source: PathSource,
        film: FilmArrays,
        buffers: RecordBuffers,
        watch: Stopwatch,
    ) -> None:
        self._cache, self._source, self._film, self._buffers, self._watch = cache, source, film, buffers, watch
        self._made_for = _baked(cache)
        self._cuts = make_cuts(cache, source, VIEW if mode is CacheMode.VIEW else RENDER, 0, 0.0)
        device = source.launcher.torch_device
        self._features = torch.zeros((buffers.paths, FEATURES), device=device)
        self._counts = torch.zeros(3, dtype=torch.int64, device=device)
        self._trace, self._answer = Recording(source.launcher), Recording(source.launcher)

    def fits(self) -> bool:
        """Whether it asks what the cache is now."""
        return _is_same(self._made_for, _baked(self._cache))

    def render(self, sample: int) -> None:
        """Add sample number `sample` to every pixel."""
        self._cuts.sample.fill_(sample)
        with self._watch.time("trace"):
            self._trace(self._trace_paths)
        with self._watch.time("query"):
            self._answer(self._add_answers)

    def collect(self) -> dict[str, int]:
        """What was counted since the last call, for which this waits for the device."""
        counts = dict(zip(("queries", "query_vertices", "path_vertices"), self._counts.tolist(), strict=True))
        self._counts.zero_()
        return counts

    def _trace_paths(self) -> None:
        self._source.trace(self._buffers, self._cuts)

    def _add_answers(self) -> None:
        buffers, launcher = self._buffers, self._source.launcher
        ends = Marked.of(buffers.count > 0, launcher)
        predictions = predict_ends(self._cache, launcher, buffers, ends, room=self._features)
        add_to_film(launcher, buffers, ends, predictions, 0.0, self._film)
        self._counts += torch.cat((ends.count.long(), torch.stack((buffers.depth.sum(), buffers.length.sum()))))


class RecordedTraining:
    """Trains the cache in frames that are launched as a whole. How many paths they have, the device decides.

    It is made for one scene and camera, and for what the cache is now but for its weights. In a frame without records the steps
    of the optimizer are skipped ones.

    Args:
        cache: The cache, which knows how bright the scene is, and was made with `fused=True`.
        source: What traces paths.
        stream: Stream of random numbers of training paths.
        density: Is counted up where training paths go, int32 [pixels].
        watch: Is told what time it takes.
        paths: How many paths there are in the first frame.
        records: Training records of a frame.
        steps: Steps of the optimizer in a frame.
    """

    def __init__(
        self,
        cache: RadianceCache,
        source: PathSource,
        stream: int,
        density: Tensor,
        watch: Stopwatch,
        *,
        paths: int,
        records: int,
        steps: int,
    ) -> None:
        self._cache, self._source, self._stream, self._watch = cache, source, stream, watch
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

    def fits(self) -> bool:
        """Whether it trains what the cache is now."""
        return _is_same(self._made_for, _baked(self._cache))

    def train(self, frame: int, unbiased: float) -> None:
        """Trace training paths, of whose suffixes a share of `unbiased` ends by roulette alone, and train on them."""
        self._cuts.sample.fill_(frame)
        self._cuts.probability.fill_(unbiased)
        self._cache.count_turn()
        with self._watch.time("train"):
            self._frame(self._learn)

    def collect(self) -> tuple[int, int]:
        """Records left out since the last call, and the paths of the next frame, for which this waits for the device."""
        bad, paths = int(self._bad), int(self._paths)
        self._bad.zero_()
        return bad, paths

    def _learn(self) -> None:
        buffers, source, tiles = self._buffers, self._source, self._cuts.tiles
        launcher = source.launcher
        source.trace(buffers, self._cuts, stream=self._stream)
        self._density.index_add_(0, buffers.pixel, (self._path_numbers < tiles.prod()).to(torch.int32))

        ends = Marked.of(buffers.status == int(IN_CACHE), launcher)
        predictions = predict_ends(self._cache, launcher, buffers, ends, trained=True, room=self._ends)
        targets, is_record = targets_of(launcher, buffers, ends, predictions, buffers.paths)
        found = Marked.of(is_record, launcher)
        self._bad += buffers.count.sum() - ends.count - found.count

        batch, seed = (self._features, self._targets), source.seed(self._stream)
        draw_batch(launcher, buffers, targets, found, seed=seed, frame=self._cuts.sample, into=batch)
        parts = (torch.tensor_split(drawn, self._steps) for drawn in batch)
        for features, target in zip(*parts, strict=True):
            self._cache.take_step(features, target)

        limits = [source.width, source.height, PATHS_PER_RECORD * len(self._targets), buffers.paths]
        memory = [as_warp(found.count), as_warp(self._paths), as_warp(tiles)]
        launcher.run(choose_tiles, 1, lambda base: [base, *limits, *memory])


def _baked(cache: RadianceCache) -> tuple[Any, ...]:
    """What of a cache is in a graph, beside what changes in place."""
    return cache.trainer, cache.model.inference_params, cache.gain, cache.scale


def _is_same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return all(a is b or (isinstance(a, float) and a == b) for a, b in zip(before, now, strict=True))
