"""Frames of the image: paths end in the cache, and its predictions complete the samples."""

from __future__ import annotations

import torch

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import RENDER, VIEW
from nrc_tracer.cache.marked import Marked
from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.cache.path_source import FilmArrays, PathSource, make_cuts
from nrc_tracer.cache.queries import add_to_film, predict_ends
from nrc_tracer.cache.residuals import Residuals
from nrc_tracer.cache.state import ImageState
from nrc_tracer.device.recording import Stopwatch


def cut_mode(mode: CacheMode) -> int:
    """Where the image's paths are cut, as in `nrc_tracer.cache.cut_policy`."""
    return int(VIEW if mode is CacheMode.VIEW else RENDER)


class Rendering:
    """Adds samples to a film in frames for which the host asks the device how many queries there are.

    Args:
        cache: The cache, which has begun.
        mode: What the cache is used for.
        source: What traces paths.
        buffers: Room for one path through each pixel.
        watch: Adds up the time of tracing and of queries.
        residuals: Sums for what continued paths find beyond the predictions; only in mode `on`.
    """

    def __init__(
        self,
        cache: RadianceCache,
        mode: CacheMode,
        source: PathSource,
        buffers: RecordBuffers,
        watch: Stopwatch,
        residuals: Residuals | None,
    ) -> None:
        self._cache, self._mode, self._source, self._buffers, self._watch = cache, mode, source, buffers, watch
        self._residuals = residuals

    def render(self, sample: int, film: FilmArrays, image: ImageState) -> None:
        """Add sample number `sample` to every pixel of the film, and count its paths and queries."""
        probability = 0.0
        if self._mode is CacheMode.UNBIASED:
            probability = 1.0 if image.continue_probability is None else image.continue_probability
        elif self._residuals is not None:
            probability = self._cache.options.correction
        cuts = make_cuts(self._cache, self._source, cut_mode(self._mode), sample, probability)
        residuals = None if self._residuals is None else (self._residuals.record(), cuts.sample)
        buffers, launcher = self._buffers, self._source.launcher
        with self._watch.time("trace"):
            self._source.trace(buffers, cuts)
        with self._watch.time("query"):
            ends = Marked.of(buffers.count > 0, launcher)
            if probability < 1.0 or residuals is not None:
                predictions = predict_ends(self._cache, launcher, buffers, ends)
                image.queries += int(ends.count)
                image.query_vertices += int(buffers.depth.sum())
            else:
                predictions = torch.zeros((buffers.paths, 3), device=launcher.torch_device)
            add_to_film(launcher, buffers, ends, predictions, probability, film, residuals)
            image.paths += buffers.paths
            image.path_vertices += int(buffers.length.sum())
