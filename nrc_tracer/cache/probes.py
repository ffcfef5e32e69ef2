"""Measuring what a radiance cache is wrong by: paths that end in it and go on all the same, to hold it against."""

from __future__ import annotations

from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import RENDER
from nrc_tracer.cache.held_out import HeldOut, join
from nrc_tracer.cache.path_source import PathSource, make_cuts, tiles_of
from nrc_tracer.device.recording import Stopwatch
from nrc_tracer.device.torch_launcher import single_threaded_torch

PROBE_STREAM = 0x70726F62655F6E72
"""What the seed of measuring differs by from the image's."""

PROBE_PATHS = 4096
"""Paths of a measurement, two through each pixel of 2048."""
FEWEST_MEASUREMENTS = 4
"""Made at once where there are none, as for a cache from another render."""
MOST_PROBES = 16
"""Measurements that are kept."""


class Probes:
    """Traces paths to hold a cache against; none of them ever trains it. What they found is kept in the cache, and in its files.

    Args:
        cache: The cache, which has begun.
        source: What traces paths.
        watch: Is told what time it takes.
        twice: Follow each path beyond its cut in two ways.
    """

    def __init__(self, cache: RadianceCache, source: PathSource, watch: Stopwatch, *, twice: bool) -> None:
        self._cache, self._source, self._watch, self._twice = cache, source, watch, twice
        self._buffers: RecordBuffers | None = None

    def measure(self) -> None:
        """Trace some, with other random numbers than all before."""
        if self._buffers is None:
            self._buffers = RecordBuffers.allocate(PROBE_PATHS, 1, self._source.launcher.torch_device)
        count = self._cache.progress.get("probes", 0)
        with self._watch.time("measure"):
            held = self._trace(count, 0)
            if self._twice:
                held["again"] = self._trace(count, 1)["tail"]
            self._cache.held = join(self._cache.held, held, most=MOST_PROBES * PROBE_PATHS)
        self._cache.progress["probes"] = count + 1

    def _trace(self, count: int, continuation: int) -> dict[str, Tensor]:
        """What the paths of a measurement find that go on beyond their cut in one of many ways."""
        source, tiles = self._source, tiles_of(self._source, PROBE_PATHS // 2)
        cuts = make_cuts(self._cache, source, RENDER, count, 1.0, tiles, group=2, continuation=continuation)
        paths = 2 * tiles[0] * tiles[1]
        source.trace(self._buffers, cuts, stream=PROBE_STREAM, paths=paths)
        return HeldOut.of(self._buffers, paths)

    def forget(self) -> None:
        """Forget what was measured."""
        self._cache.held = {}

    def found(self) -> HeldOut:
        """All that was measured; where nothing was yet, that is done now."""
        if not self._cache.held:
            for _ in range(FEWEST_MEASUREMENTS):
                self.measure()
        return HeldOut(self._cache.held)

    def bias(self) -> tuple[float, float]:
        """The cache's relative error at the ends of paths, weighted as in the image, and its standard error; see `HeldOut`."""
        with single_threaded_torch(self._source.launcher):
            return self.found().bias(self._cache.predict)
