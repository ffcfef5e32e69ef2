"""Frames of the radiance cache that a GPU goes through alone: nothing in them waits for the host.

Where the host would ask how many queries or records there are, kernels find the number in memory, and work is launched for the
most that there can be. The number of training paths is steered on the device too. What the host decides from frame to frame
(which sample, the learning rate, the share of unbiased suffixes) it writes into memory beforehand.
"""

from typing import Any

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.cache.assembly import draw_records
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.marked import Marked
from nrc_tracer.cache.records import FEATURES, IN_CACHE, RecordBuffers
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.recording import Recording, Stopwatch
from nrc_tracer.tracer.cut_path import RENDER, TRAIN, VIEW
from nrc_tracer.tracer.cut_tracer import CutTracer
from nrc_tracer.tracer.film_sums import FilmSums
from nrc_tracer.tracer.transport import PathSettings
from nrc_tracer.tracer.vocabulary import CacheMode

PATHS_PER_RECORD = 1.1
"""More training paths are begun than needed, as their number of vertices is random."""


@wp.kernel(enable_backward=False)
def choose_tiles(
    base: int,
    size: wp.vec2,
    most: int,
    wanted: wp.float64,
    records: wp.array[int],
    paths: wp.array[int],
    tiles: wp.array[int],
):
    """Choose how many paths the next frame has, that it may leave `wanted` records where this one left `records[0]`.

    There are at most `most`, in tiles as square as can be: see `CutTracer.tiles`.
    """
    n = records[base + wp.tid()]
    if n == 0:
        return
    before = wp.float64(tiles[0] * tiles[1])
    count = int(wp.min(wanted * before / wp.float64(n), wp.float64(most)))
    across = int(wp.rint(wp.sqrt(wp.float64(count) * wp.float64(size[0]) / wp.float64(size[1]))))
    across = wp.max(1, wp.min(across, count))
    paths[0] = count
    tiles[0] = across
    tiles[1] = wp.max(1, count // across)


class RecordedRendering:
    """Adds samples that end in the cache, or show it, to a film, in frames whose parts are launched as a whole.

    It is made for one scene, camera and film, and for what the cache is now but for its weights.

    Args:
        cache: The cache, made with `fused=True`.
        mode: What is rendered: `on` or `view`.
        tracer: What traces paths.
        sums: Of the film.
        buffers: Room for a path through each pixel.
        watch: Is told what time the parts take.
    """

    def __init__(
        self,
        cache: RadianceCache,
        mode: CacheMode,
        tracer: CutTracer,
        sums: FilmSums,
        buffers: RecordBuffers,
        watch: Stopwatch,
    ) -> None:
        self._cache, self._tracer, self._sums, self._buffers, self._watch = cache, tracer, sums, buffers, watch
        self._made_for = _baked(cache)
        self._cuts = tracer.cuts(cache, VIEW if mode is CacheMode.VIEW else RENDER, 0, 0.0)
        device = tracer.launcher.torch_device
        self._features = torch.zeros((buffers.paths, FEATURES), device=device)
        self._counts = torch.zeros(3, dtype=torch.int64, device=device)
        self._trace, self._answer = Recording(tracer.launcher), Recording(tracer.launcher)

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
        self._tracer.trace(self._buffers, self._cuts)

    def _add_answers(self) -> None:
        buffers = self._buffers
        ends = Marked.of(buffers.count > 0, self._tracer.launcher)
        predictions = _predict(self._cache, self._tracer, buffers, ends, self._features)
        self._tracer.add(buffers, ends, predictions, 0.0, self._sums)
        self._counts += torch.cat((ends.count.long(), torch.stack((buffers.depth.sum(), buffers.length.sum()))))


class RecordedTraining:
    """Trains the cache in frames that are launched as a whole. How many paths they have, the device decides.

    It is made for one scene and camera, and for what the cache is now but for its weights. In a frame without records the steps
    of the optimizer are skipped ones.

    Args:
        cache: The cache, which knows how bright the scene is, and was made with `fused=True`.
        tracer: What traces paths.
        settings: Of training paths.
        density: Is counted up where training paths go, int32 [pixels].
        watch: Is told what time it takes.
        paths: How many paths there are in the first frame.
        records: Training records of a frame.
        steps: Steps of the optimizer in a frame.
    """

    def __init__(
        self,
        cache: RadianceCache,
        tracer: CutTracer,
        settings: PathSettings,
        density: Tensor,
        watch: Stopwatch,
        *,
        paths: int,
        records: int,
        steps: int,
    ) -> None:
        self._cache, self._tracer, self._settings, self._watch = cache, tracer, settings, watch
        self._made_for, self._density, self._steps = _baked(cache), density, steps
        self._cuts = tracer.cuts(cache, TRAIN, 0, 1.0, tracer.tiles(min(paths, records)))
        device = tracer.launcher.torch_device
        self._paths = torch.tensor([paths], dtype=torch.int32, device=device)
        self._buffers = RecordBuffers.allocate(records, cache.options.capacity, device)
        self._path_numbers = torch.arange(records, device=device)
        self._ends, self._features = (torch.zeros((records, FEATURES), device=device) for _ in range(2))
        self._targets = torch.zeros((records, 3), device=device)
        self._bad = torch.zeros(1, dtype=torch.int64, device=device)
        self._frame = Recording(tracer.launcher)

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
        buffers, tracer, tiles = self._buffers, self._tracer, self._cuts.tiles
        tracer.trace(buffers, self._cuts, settings=self._settings)
        self._density.index_add_(0, buffers.pixel, (self._path_numbers < tiles.prod()).to(torch.int32))

        ends = Marked.of(buffers.status == int(IN_CACHE), tracer.launcher)
        predictions = _predict(self._cache, tracer, buffers, ends, self._ends, trained=True)
        targets, is_record = tracer.propagate(buffers, ends, predictions, buffers.paths)
        found = Marked.of(is_record, tracer.launcher)
        self._bad += buffers.count.sum() - ends.count - found.count

        self._draw(targets, found)
        parts = (torch.tensor_split(drawn, self._steps) for drawn in (self._features, self._targets))
        for features, target in zip(*parts, strict=True):
            self._cache.take_step(features, target)

        size, wanted = wp.vec2(float(tracer.width), float(tracer.height)), PATHS_PER_RECORD * len(self._targets)
        arguments = [size, buffers.paths, wanted, as_warp(found.count), as_warp(self._paths), as_warp(tiles)]
        tracer.launch(choose_tiles, 1, lambda base: [base, *arguments])

    def _draw(self, targets: Tensor, found: Marked) -> None:
        """Draw records to train on."""
        before = [self._buffers.record, as_warp(targets, wp.vec3), as_warp(found.items), as_warp(found.count)]
        before += [wp.uint64(int(self._settings.seed)), as_warp(self._cuts.sample)]
        after = [as_warp(self._features), as_warp(self._targets, wp.vec3)]
        self._tracer.launch(draw_records, len(self._targets), lambda base: [*before, base, *after])


def _predict(
    cache: RadianceCache,
    tracer: CutTracer,
    buffers: RecordBuffers,
    ends: Marked,
    features: Tensor,
    *,
    trained: bool = False,
) -> Tensor:
    """What the cache says at the last cuts of the listed paths, in their order; anything after them."""
    tracer.gather(buffers, ends, features)
    return cache.predict(features, trained=trained, count=ends.count)


def _baked(cache: RadianceCache) -> tuple[Any, ...]:
    """What of a cache is in a graph, beside what changes in place."""
    return cache.trainer, cache.model.inference_params, cache.gain, cache.scale


def _is_same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return all(a is b or (isinstance(a, float) and a == b) for a, b in zip(before, now, strict=True))
