"""Measuring the error of a radiance cache on held-out paths: they are cut where they would end in it, and continued."""

from __future__ import annotations

import dataclasses

from msgspec.structs import replace

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import RENDER
from nrc_tracer.cache.held_out import HeldOut
from nrc_tracer.cache.measurements import Bias
from nrc_tracer.cache.path_source import PathSource, make_cuts, tiles_of
from nrc_tracer.device.recording import Stopwatch
from nrc_tracer.device.torch_launcher import single_threaded_torch

PROBE_STREAM = 0x70726F62655F6E72
"""Stream of the random numbers of held-out paths."""

PROBE_PATHS = 4096
"""Paths of a measurement, two through each of 2048 pixels."""

FIRST_MEASUREMENTS = 4
"""Measurements that are made at once where there are none yet, as for a cache from another render."""

MOST_MEASUREMENTS = 16
"""Measurements that are kept: the last ones."""


class Probes:
    """Traces held-out paths, on which the cache never trains, and keeps them.

    Args:
        cache: The cache, which has begun.
        source: What traces paths.
        watch: Adds up the time of measuring.
        twice: Whether each path is continued beyond its cut in two independent ways.

    Attributes:
        held_out: The paths of the last measurements; they are of one scene and camera.
    """

    def __init__(self, cache: RadianceCache, source: PathSource, watch: Stopwatch, *, twice: bool) -> None:
        self._cache, self._source, self._watch, self._twice = cache, source, watch, twice
        self._buffers: RecordBuffers | None = None
        self.held_out = HeldOut.empty(source.launcher.torch_device)

    def measure(self) -> None:
        """Trace held-out paths, with random numbers that no earlier measurement had."""
        state = self._cache.state
        with self._watch.time("measure"):
            found = self._trace(state.measurements, 0)
            if self._twice:
                found = dataclasses.replace(found, again=self._trace(state.measurements, 1).tail)
            self.held_out = self.held_out.joined(found, most=MOST_MEASUREMENTS * PROBE_PATHS)
        self._cache.state = replace(state, measurements=state.measurements + 1)

    def _trace(self, sample: int, continuation: int) -> HeldOut:
        source, tiles = self._source, tiles_of(self._source, PROBE_PATHS // 2)
        if self._buffers is None:
            self._buffers = RecordBuffers.allocate(PROBE_PATHS, 1, source.launcher.torch_device)
        cuts = make_cuts(self._cache, source, RENDER, sample, 1.0, tiles, group=2, continuation=continuation)
        paths = 2 * tiles[0] * tiles[1]
        source.trace(self._buffers, cuts, stream=PROBE_STREAM, paths=paths)
        return HeldOut.of(self._buffers, paths)

    def forget(self) -> None:
        """Forget all measurements: scene or camera have changed."""
        self.held_out = HeldOut.empty(self._source.launcher.torch_device)

    def found(self) -> HeldOut:
        """The held-out paths; where there are none yet, they are traced now."""
        if not len(self.held_out):
            for _ in range(FIRST_MEASUREMENTS):
                self.measure()
        return self.held_out

    def bias(self) -> Bias:
        """The cache's relative bias at the ends of paths, weighted as in the image; see `HeldOut.bias`."""
        with single_threaded_torch(self._source.launcher):
            return self.found().bias(self._cache.predict)
