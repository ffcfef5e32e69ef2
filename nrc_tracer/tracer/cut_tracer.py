"""The path tracer as the source of cut paths for a radiance cache."""

from __future__ import annotations

import copy

import numpy as np
import warp as wp

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.path_source import Cuts
from nrc_tracer.device.random_bits import mix
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tracer.cut_path import trace_cut_paths
from nrc_tracer.tracer.path_inputs import PathInputs
from nrc_tracer.tracer.transport import PathSettings
from nrc_tracer.tracer.vocabulary import SamplerKind


class CutTracer:
    """Launches the kernel that traces cut paths: a `nrc_tracer.cache.path_source.PathSource`.

    Args:
        inputs: Scene, camera, film and settings, which may change between frames.
        device: Warp device.
        threads: Threads on the CPU; one per core for None.
        block_size: Paths per launch on the CPU.

    Attributes:
        width, height: Size of the image [pixels].
        launcher: Launches kernels in order with torch's operations.
    """

    def __init__(self, inputs: PathInputs, *, device: str, threads: int | None, block_size: int) -> None:
        self._inputs, self._block_size = inputs, block_size
        self.width, self.height = inputs.size
        self.launcher = TorchLauncher(wp.device_to_torch(wp.get_device(device)), threads=threads)

    @property
    def origin(self) -> np.ndarray:
        """The point of world space that is the origin of the paths' positions, float64 [3]."""
        return self._inputs.origin

    @property
    def eye(self) -> np.ndarray:
        """The camera's position in world space, float64 [3]."""
        return self.origin + np.array(self._inputs.records[1].origin, np.float64)

    def in_rows(self, first: int, rows: int) -> CutTracer:
        """The same for rows `first` .. `first + rows - 1` of the image alone."""
        part = copy.copy(self)
        part._inputs = self._inputs.in_rows(first, rows)
        part.width, part.height = part._inputs.size
        return part

    def resized(self) -> CutTracer:
        """The same after the film has changed its size."""
        other = copy.copy(self)
        other.width, other.height = self._inputs.size
        return other

    def seed(self, stream: int) -> int:
        """The 64-bit seed of a stream of random numbers that is independent of the image's."""
        return mix(int(self._inputs.settings.seed), stream)

    def trace(self, buffers: RecordBuffers, cuts: Cuts, *, stream: int | None = None, paths: int | None = None) -> None:
        """Trace paths and write their records to `buffers`.

        Args:
            buffers: Room for the records.
            cuts: Where paths are cut, and which sample of each pixel or tile they are.
            stream: Stream of independent random numbers; None for the image's own.
            paths: Number of paths; as many as there is room for unless given.
        """
        scene, camera, film, settings = self._inputs.records
        if stream is not None:
            settings = self._settings_of(stream)
        before = (scene, camera, film, settings, cuts.policy)
        self.launcher.run(
            trace_cut_paths,
            paths or buffers.paths,
            lambda base: [*before, base, buffers.record],
            block_size=self._block_size,
        )

    def _settings_of(self, stream: int) -> PathSettings:
        settings = PathSettings()
        settings.sampler = int(SamplerKind.INDEPENDENT)
        settings.seed = self.seed(stream)
        settings.max_depth, settings.rr_depth = self._inputs.settings.max_depth, self._inputs.settings.rr_depth
        return settings
