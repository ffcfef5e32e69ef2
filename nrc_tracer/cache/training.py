"""Training frames: training paths are traced, their targets put together, and the network is trained on some of them."""

from __future__ import annotations

import torch
import warp as wp
from msgspec.structs import replace
from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import TRAIN
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.marked import Marked
from nrc_tracer.cache.path_source import PathSource, make_cuts, tiles_of
from nrc_tracer.cache.queries import predict_ends, targets_of
from nrc_tracer.cache.records import IN_CACHE
from nrc_tracer.cache.state import ImageState
from nrc_tracer.cache.tiles import PATHS_PER_RECORD, next_path_count
from nrc_tracer.device.random_bits import mix
from nrc_tracer.device.recording import Stopwatch

TRAINING_STREAM = 0x7261696E5F6E7263
"""Stream of the random numbers of training."""

FIRST_RECORDS_PER_PATH = 4
"""Records that a training path is expected to leave, before any was traced."""


def training_path_count(image: ImageState, records: int) -> int:
    """Number of paths of the next training frame, which should leave `records` records."""
    return records // FIRST_RECORDS_PER_PATH if image.training_paths is None else image.training_paths


class Training:
    """Trains the cache in frames for which the host asks the device how many records there are.

    Args:
        cache: The cache, which has begun.
        source: What traces paths.
        watch: Adds up the time of training.
        records: Training records of a frame.
        steps: Steps of the optimizer in a frame.
    """

    def __init__(self, cache: RadianceCache, source: PathSource, watch: Stopwatch, *, records: int, steps: int) -> None:
        self._cache, self._source, self._watch = cache, source, watch
        self._records, self._steps = records, steps
        self._buffers: RecordBuffers | None = None

    def train(self, unbiased: float, image: ImageState, density: Tensor, *, measures_scale: bool) -> None:
        """Train for one frame.

        Args:
            unbiased: Share of suffixes that end by Russian roulette alone.
            image: Number of training paths, which is adapted to the records that these leave.
            density: Training paths through each pixel, int32 [pixels], to be added to.
            measures_scale: Whether the radiance scale is measured on the targets first, which must all be unbiased.
        """
        cache = self._cache
        with self._watch.time("train"):
            features, targets = self._trace(unbiased, image, density)
            if not len(targets):
                return
            if measures_scale:
                cache.measure_scale(features, targets)
                if cache.state.needs_scale:
                    cache.follow_brightness(features, targets)
                cache.state = replace(cache.state, needs_scale=False)
            seed = mix(self._source.seed(TRAINING_STREAM), cache.state.frame)
            cache.train(features, targets, records=self._records, steps=self._steps, seed=seed)

    def _trace(self, unbiased: float, image: ImageState, density: Tensor) -> tuple[Tensor, Tensor]:
        """Trace training paths; features and targets of their records."""
        cache, source, launcher = self._cache, self._source, self._source.launcher
        across, down = tiles_of(source, training_path_count(image, self._records))
        paths = across * down
        if self._buffers is None or self._buffers.paths < paths:
            self._buffers = RecordBuffers.allocate(paths, cache.options.capacity, launcher.torch_device)
        buffers = self._buffers
        cuts = make_cuts(cache, source, TRAIN, cache.state.frame, unbiased, (across, down))
        source.trace(buffers, cuts, stream=TRAINING_STREAM, paths=paths)
        density += torch.bincount(buffers.pixel[:paths], minlength=len(density))

        ends = Marked.of(buffers.status[:paths] == int(IN_CACHE), launcher)
        predictions = predict_ends(cache, launcher, buffers, ends, trained=True)
        targets, is_record = targets_of(launcher, buffers, ends, predictions, paths)
        chosen = is_record.nonzero()[:, 0]
        bad = int(buffers.count[:paths].sum()) - int(ends.count) - len(chosen)
        cache.state = replace(cache.state, bad_records=cache.state.bad_records + bad)
        if len(chosen):
            wanted = wp.float64(PATHS_PER_RECORD * self._records)
            image.training_paths = int(next_path_count(paths, len(chosen), wanted, self._records))
        return buffers.features.view(-1, FEATURES)[chosen], targets[chosen]
