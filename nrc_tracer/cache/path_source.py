"""What the cache needs from a tracer: paths that are cut where the cache decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import CutPolicy
from nrc_tracer.cache.features import SceneBox
from nrc_tracer.cache.tiles import square_tiles
from nrc_tracer.device.torch_launcher import TorchLauncher

FilmArrays = tuple[Any, Any, Any]
"""Sums of the samples and of their squares, `wp.array` of `vec3d` [pixels], and dropped samples, of int [pixels]."""


@dataclass(frozen=True)
class Cuts:
    """Where paths are cut, with the device memory of the values that may change between frames.

    Attributes:
        policy: The policy as kernels take it.
        probability: Probability of continuing beyond the cut, or of a training suffix that ends by Russian roulette alone,
            float32 [1].
        tiles: Tiles in each direction of the film, int32 [2]; 0 if path i starts from pixel i.
        sample: Index of the sample in each pixel or tile, int32 [1].
    """

    policy: CutPolicy
    probability: Tensor
    tiles: Tensor
    sample: Tensor


class PathSource(Protocol):
    """Traces the paths of one image. The tracer implements this; the cache uses nothing else of the tracer.

    A `stream` numbers random numbers that are independent of the image's and of all other streams'; None is the image's own.
    """

    @property
    def width(self) -> int:
        """Width of the film [pixels]."""

    @property
    def height(self) -> int:
        """Height of the film [pixels]."""

    @property
    def launcher(self) -> TorchLauncher:
        """Launches kernels in order with torch's operations."""

    @property
    def origin(self) -> np.ndarray:
        """The point of world space that is the origin of the paths' positions, float64 [3]."""

    @property
    def eye(self) -> np.ndarray:
        """The camera's position in world space, float64 [3]."""

    def seed(self, stream: int) -> int:
        """The 64-bit seed of a stream."""

    def trace(self, buffers: RecordBuffers, cuts: Cuts, *, stream: int | None = None, paths: int | None = None) -> None:
        """Trace paths and write their records to `buffers`: its first `paths` ones, or as many as it has room for."""


def make_cuts(
    cache: RadianceCache,
    source: PathSource,
    mode: int,
    sample: int,
    probability: float,
    tiles: tuple[int, int] = (0, 0),
    *,
    group: int = 1,
    continuation: int = 0,
) -> Cuts:
    """Make the policy that cuts paths by the options of a cache.

    Args:
        cache: The cache.
        source: What traces the paths.
        mode: `RENDER`, `VIEW` or `TRAIN` of `nrc_tracer.cache.cut_policy`.
        sample: Index of the sample in each pixel or tile.
        probability: Probability of continuing beyond the cut, or of a training suffix that ends by Russian roulette alone.
        tiles: Tiles in each direction of the film; (0, 0) if path i starts from pixel i.
        group: Paths in each tile, all through the same pixel.
        continuation: Number of the continuation beyond the cut; see `CutPolicy`.
    """
    device = source.launcher.torch_device
    # Filled instead of copied: a copy would wait for the GPU
    memory = {
        "probability": torch.full((1,), probability, dtype=torch.float32, device=device),
        "tiles": torch.full((2,), tiles[0], dtype=torch.int32, device=device),
        "sample": torch.full((1,), sample, dtype=torch.int32, device=device),
    }
    memory["tiles"][1].fill_(tiles[1])
    policy = CutPolicy()
    policy.mode = int(mode)
    policy.spread, policy.suffix_spread = cache.options.spread, cache.options.suffix_spread
    policy.box = SceneBox()
    policy.box.low, policy.box.scale = wp.vec3(*(cache.low - source.origin)), 1.0 / cache.size
    policy.size = wp.vec2(float(source.width), float(source.height))
    policy.group, policy.continuation = group, continuation
    policy.continue_probability = wp.from_torch(memory["probability"])
    policy.tiles, policy.sample = wp.from_torch(memory["tiles"]), wp.from_torch(memory["sample"])
    return Cuts(policy, **memory)


def tiles_of(source: PathSource, count: int) -> tuple[int, int]:
    """Tiles in each direction of the film: close to `count` in all but not more, and as square as possible."""
    across, down = square_tiles(count, source.width, source.height)
    return int(across), int(down)
