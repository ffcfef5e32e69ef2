"""Tracing paths that are cut for a radiance cache: which, where and with which random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import warp as wp

from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.features import SceneBox
from nrc_tracer.cache.records import RecordBuffers
from nrc_tracer.nn.torch_launcher import TorchLauncher
from nrc_tracer.tracer.camera import CameraRecord, FilmRecord
from nrc_tracer.tracer.cut_path import CutPolicy, trace_cut_paths
from nrc_tracer.tracer.sampler import mix
from nrc_tracer.tracer.transport import PathSettings, SceneRecord
from nrc_tracer.tracer.vocabulary import SamplerKind


class CutTracer:
    """Launches `trace_cut_paths`.

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

    def policy(
        self,
        cache: RadianceCache,
        mode: int,
        probability: float,
        tiles: tuple[int, int] = (0, 0),
        *,
        group: int = 1,
    ) -> CutPolicy:
        """Where paths are cut.

        Args:
            cache: Whose limits and cube are meant.
            mode: `RENDER`, `VIEW` or `TRAIN`.
            probability: Of going on beyond the cut, or of a suffix that ends by roulette alone.
            tiles: Tiles in each direction of the film; without them path i is of pixel i.
            group: Paths in each tile, all through one pixel.
        """
        policy = CutPolicy()
        policy.mode = int(mode)
        policy.spread, policy.suffix_spread = cache.options.spread, cache.options.suffix_spread
        policy.continue_probability = probability
        policy.box = SceneBox()
        policy.box.low, policy.box.scale = wp.vec3(*cache.low), 1.0 / cache.size
        policy.tiles = wp.vec2i(*tiles)
        if tiles[0]:
            policy.tile_size = wp.vec2(self.width / tiles[0], self.height / tiles[1])
        policy.group = group
        return policy

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
        policy: CutPolicy,
        sample: int,
        *,
        settings: PathSettings | None = None,
        paths: int | None = None,
    ) -> None:
        """Follow paths and leave what they gathered in buffers.

        Args:
            buffers: Room for them.
            policy: Where they are cut.
            sample: Number of the sample in each pixel or tile.
            settings: Those of the image unless given.
            paths: The first so many; as many as there is room for unless given.
        """
        before = (self.scene, self.camera, self._film, settings or self.settings, policy, sample)
        self.launch(trace_cut_paths, paths or buffers.paths, lambda base: [*before, base, buffers.record])

    def launch(self, kernel: wp.Kernel, count: int, arguments: Callable[[int], list]) -> None:
        """Run a kernel on `count` items; see `Launcher.run`."""
        self.launcher.run(kernel, count, arguments, block_size=self._block_size)
