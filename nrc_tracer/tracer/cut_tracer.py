"""Tracing paths that are cut for a radiance cache: which, where and with which random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.cache.assembly import add_samples, gather_ends, propagate_targets
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.features import SceneBox
from nrc_tracer.cache.marked import LIGHT_ITEMS, Marked
from nrc_tracer.cache.records import RecordBuffers
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.cut_path import CutPolicy, trace_cut_paths
from nrc_tracer.tracer.film_sums import FilmSums
from nrc_tracer.tracer.sampler import mix
from nrc_tracer.tracer.transport import PathSettings, SceneRecord
from nrc_tracer.tracer.vocabulary import SamplerKind


@dataclass(frozen=True)
class Cuts:
    """Where paths are cut, for kernels; and what of it may change from frame to frame, in memory that kernels read.

    Attributes:
        policy: For kernels.
        probability: Of going on beyond the cut, or of a suffix that ends by roulette alone, float32 [1].
        tiles: Tiles in each direction of the film, int32 [2]; without them path i is of pixel i.
        sample: Number of the sample in each pixel or tile, int32 [1].
    """

    policy: CutPolicy
    probability: Tensor
    tiles: Tensor
    sample: Tensor


class CutTracer:
    """Launches the kernels that follow cut paths, and that put together what they leave.

    Args:
        scene: The scene on the device.
        camera: The camera.
        film: The film.
        settings: Of the image's paths.
        size: Width and height in pixels that are rendered.
        device: Warp device.
        threads: Threads on the CPU.
        block_size: Paths per launch on the CPU.

    Attributes:
        scene, camera: They may be changed between frames.
        settings: Of the image's paths.
        width, height: The size.
        launcher: Of kernels among torch operations.
    """

    def __init__(
        self,
        scene: SceneRecord,
        camera: CameraRecord,
        film: FilmRecord,
        settings: PathSettings,
        *,
        size: tuple[int, int],
        device: str,
        threads: int | None,
        block_size: int,
    ) -> None:
        self.scene, self.camera, self.settings = scene, camera, settings
        self.width, self.height = size
        self.launcher = TorchLauncher(wp.device_to_torch(wp.get_device(device)), threads=threads)
        self._film, self._block_size = film, block_size

    def cuts(
        self,
        cache: RadianceCache,
        mode: int,
        sample: int,
        probability: float,
        tiles: tuple[int, int] = (0, 0),
        *,
        group: int = 1,
        continuation: int = 0,
    ) -> Cuts:
        """Where paths are cut.

        Args:
            cache: Whose limits and cube are meant.
            mode: `RENDER`, `VIEW` or `TRAIN`.
            sample: Number of the sample in each pixel or tile.
            probability: Of going on beyond the cut, or of a suffix that ends by roulette alone.
            tiles: Tiles in each direction of the film; without them path i is of pixel i.
            group: Paths in each tile, all through one pixel.
            continuation: Which of many ways a path goes on beyond its cut.
        """
        device = self.launcher.torch_device
        # Filled, for which a GPU is not waited for, as it would be for a copy
        numbers = {
            "probability": torch.full((1,), probability, dtype=torch.float32, device=device),
            "tiles": torch.full((2,), tiles[0], dtype=torch.int32, device=device),
            "sample": torch.full((1,), sample, dtype=torch.int32, device=device),
        }
        numbers["tiles"][1].fill_(tiles[1])
        policy = CutPolicy()
        policy.mode = int(mode)
        policy.spread, policy.suffix_spread = cache.options.spread, cache.options.suffix_spread
        policy.box = SceneBox()
        policy.box.low, policy.box.scale = wp.vec3(*cache.low), 1.0 / cache.size
        policy.size = wp.vec2(float(self.width), float(self.height))
        policy.group, policy.continuation = group, continuation
        policy.continue_probability = wp.from_torch(numbers["probability"])
        policy.tiles, policy.sample = wp.from_torch(numbers["tiles"]), wp.from_torch(numbers["sample"])
        return Cuts(policy, **numbers)

    def tiles(self, count: int) -> tuple[int, int]:
        """At most `count` tiles, about as many, that are as square as can be."""
        across = max(1, min(round(math.sqrt(count * self.width / self.height)), count))
        return across, max(1, count // across)

    def stream(self, number: int) -> PathSettings:
        """The settings with independent random numbers of their own."""
        settings = PathSettings()
        settings.sampler = int(SamplerKind.INDEPENDENT)
        settings.seed = mix(int(self.settings.seed), number)
        settings.max_depth, settings.rr_depth = self.settings.max_depth, self.settings.rr_depth
        return settings

    def trace(
        self,
        buffers: RecordBuffers,
        cuts: Cuts,
        *,
        settings: PathSettings | None = None,
        paths: int | None = None,
    ) -> None:
        """Follow paths and leave what they gathered in buffers.

        Args:
            buffers: Room for them.
            cuts: Where they are cut, and which sample of each pixel or tile they are.
            settings: Those of the image unless given.
            paths: The first so many; as many as there is room for unless given.
        """
        before = (self.scene, self.camera, self._film, settings or self.settings, cuts.policy)
        self.launcher.run(
            trace_cut_paths,
            paths or buffers.paths,
            lambda base: [*before, base, buffers.record],
            block_size=self._block_size,
        )

    def gather(self, buffers: RecordBuffers, ends: Marked, features: Tensor) -> None:
        """Put the features of the last cuts of the listed paths, as many as there is room for, into `features`, [n, FEATURES]."""
        arrays = [buffers.record, as_warp(ends.items), as_warp(ends.count)]
        self.launch(gather_ends, len(features), lambda base: [*arrays, base, as_warp(features)])

    def propagate(self, buffers: RecordBuffers, ends: Marked, predictions: Tensor, paths: int) -> tuple[Tensor, Tensor]:
        """Targets of the cuts of the first `paths` paths, and which of them are records.

        Args:
            buffers: What the paths left.
            ends: The paths that ended in the cache.
            predictions: What the cache says there, float32 [number of ends, 3].
            paths: How many paths.

        Returns:
            float32 [paths * capacity, 3], and 0 or 1, int32 [paths * capacity].
        """
        rows, device = paths * buffers.capacity, self.launcher.torch_device
        targets, is_record = torch.zeros((rows, 3), device=device), torch.zeros(rows, dtype=torch.int32, device=device)
        before = [buffers.record, as_warp(ends.upto), as_warp(predictions, wp.vec3)]
        after = [as_warp(targets, wp.vec3), as_warp(is_record)]
        self.launch(propagate_targets, paths, lambda base: [*before, base, *after])
        return targets, is_record

    def add(
        self, buffers: RecordBuffers, ends: Marked, predictions: Tensor, probability: float, sums: FilmSums
    ) -> None:
        """Add a sample to each pixel.

        Args:
            buffers: What a path through each pixel left.
            ends: The paths with a cut.
            predictions: What the cache says there, float32 [number of ends, 3].
            probability: With which paths went on beyond their cut.
            sums: Of the film.
        """
        film = [as_warp(ends.upto), as_warp(predictions, wp.vec3), probability]
        self.launch(add_samples, buffers.paths, lambda base: [buffers.record, *film, base, *sums.arrays])

    def launch(self, kernel: wp.Kernel, count: int, arguments: Callable[[int], list]) -> None:
        """Run a kernel that does little for each of `count` items; see `Launcher.run`."""
        self.launcher.run(kernel, count, arguments, block_size=LIGHT_ITEMS)
