"""Strips of an image whose paths end in a radiance cache that was trained elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.assembly import propagate_targets
from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache_file import IN_MEMORY, read_cache_file
from nrc_tracer.cache.frames import CachedFrames
from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.cache.rendering import Rendering
from nrc_tracer.cache.residuals import HALVES, Residuals
from nrc_tracer.cache.state import ImageState
from nrc_tracer.device.recording import Stopwatch
from nrc_tracer.device.torch_launcher import single_threaded_torch
from nrc_tracer.nn.snapshot_format import SnapshotBytes
from nrc_tracer.tracer.cut_path import trace_cut_paths
from nrc_tracer.tracer.cut_tracer import CutTracer
from nrc_tracer.tracer.film_sums import BlockSums
from nrc_tracer.tracer.strips import Strip, StripTracer, block_arrays, block_sums


@dataclass(frozen=True)
class Round:
    """A radiance cache as it is while a block of samples is rendered.

    Attributes:
        first: Index of the block's first sample, which tells rounds apart.
        mode: What the cache is used for.
        data: What predictions need of the cache, and the probability of continuing, as `RadianceCache.inference_bytes` returns
            them.
    """

    first: int
    mode: CacheMode
    data: bytes

    @classmethod
    def of(cls, frames: CachedFrames, first: int) -> Round | None:
        """The round of a renderer's frames; None where all paths are traced to their ends, without the cache."""
        if frames.is_path_tracing:
            return None
        return cls(first, frames.mode, frames.cache.inference_bytes(frames.image))


class CachedStripTracer:
    """Sums samples in strips of an image with the cache of a round. Strips are the same everywhere, so the sums are too.

    Args:
        tracer: What traces strips of the same image without a cache.
        number: The round.

    Raises:
        CacheError, SnapshotError: The cache cannot be read.
    """

    def __init__(self, tracer: StripTracer, number: Round) -> None:
        device, threads = str(tracer.launcher.device), tracer.launcher.threads
        self._source = CutTracer(tracer.inputs, device=device, threads=threads, block_size=1024)
        file = read_cache_file(SnapshotBytes(IN_MEMORY, number.data))
        launcher = self._source.launcher
        self._cache = RadianceCache(file.metadata.options)
        self._cache.restore(file, device=launcher.torch_device, threads=launcher.threads, training=False)
        self._image, self._mode = file.metadata.image or ImageState(), number.mode
        for kernel in (trace_cut_paths, propagate_targets):
            kernel.module.load(launcher.device, 256 if launcher.device.is_cuda else 1)

    def trace(self, strip: Strip, first: int, count: int) -> tuple[BlockSums, ImageState]:
        """Sum the samples `first` .. `first + count - 1` of every pixel of a strip, and count its paths and queries."""
        source = self._source.in_rows(strip.first, strip.rows)
        launcher = source.launcher
        buffers = RecordBuffers.allocate(source.width * strip.rows, 1, launcher.torch_device)
        is_corrected = self._mode is CacheMode.ON
        residuals = Residuals.zeros(buffers.paths, launcher.torch_device) if is_corrected else None
        rendering = Rendering(self._cache, self._mode, source, buffers, Stopwatch(launcher), residuals)
        arrays = block_arrays(buffers.paths, launcher.device)
        counts = ImageState(continue_probability=self._image.continue_probability)
        with single_threaded_torch(launcher):
            for sample in range(first, first + count):
                rendering.render(sample, arrays, counts)
        sums = block_sums(arrays, strip.rows)
        if residuals is not None:
            both = torch.stack((residuals.sums, residuals.squares)).cpu().numpy()
            sums = replace(sums, residuals=both.reshape(2, HALVES, strip.rows, -1, 3))
        return sums, counts
