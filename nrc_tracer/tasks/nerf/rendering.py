"""Rendering views of a radiance field: a few samples of each ray at a time, without the rays that have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.device.torch_launcher import TorchLauncher, single_threaded_torch
from nrc_tracer.nn import Model
from nrc_tracer.tasks.nerf.compositing import MIN_TRANSMITTANCE, Compositor
from nrc_tracer.tasks.nerf.marching import Marcher
from nrc_tracer.tasks.nerf.occupancy import OccupancyGrid
from nrc_tracer.tasks.nerf.space import NEVER, Space

BLOCK = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Rays rendered at a time."""
BATCH = {"cpu": 1 << 17, "cuda": 1 << 21}
"""Approximate number of samples per evaluation of the model."""
FEWEST, MOST = 4, 64
"""Fewest and most samples of a ray at a time."""


@dataclass(frozen=True)
class Rendered:
    """What rays see.

    Attributes:
        color: sRGB times alpha, float32 [N, 3].
        alpha: float32 [N].
        distance: Mean distance of what is seen in unit cubes, float32 [N]; 0 where nothing is seen.
    """

    color: Tensor
    alpha: Tensor
    distance: Tensor

    def over(self, background: Tensor | float) -> Tensor:
        """The colour over a background in sRGB, [N, 3]."""
        return self.color + (1.0 - self.alpha)[:, None] * background


class Volume:
    """A radiance field with its occupancy grid.

    Args:
        model: The model.
        space: The space it is defined in.
        grid: The cells that may hold something.
        launcher: Launcher for the model's device.
    """

    def __init__(self, model: Model, space: Space, grid: OccupancyGrid, launcher: TorchLauncher) -> None:
        self.model = model
        self.space = space
        self.grid = grid
        self.launcher = launcher
        self.marcher = Marcher(space, launcher)
        self.compositor = Compositor(launcher)

    def render(
        self,
        origins: Tensor,
        directions: Tensor,
        *,
        words: Tensor | None = None,
        least_transmittance: float = MIN_TRANSMITTANCE,
        stride: int = 1,
        progress: Callable[[int], None] | None = None,
    ) -> Rendered:
        """What rays see.

        Args:
            origins, directions: Rays in unit-cube space, directions of length 1, float32 [N, 3].
            words: Bits of the cells that are sampled, int32 (`OccupancyGrid.words`); those of the grid if None.
            least_transmittance: Transmittance below which rays end.
            stride: Steps of the rays' lattice from one sample to the next.
            progress: Called with the number of rays done.
        """
        size = BLOCK[self.launcher.torch_device.type]
        words = self.grid.words if words is None else words
        parts = []
        with single_threaded_torch(self.launcher), torch.no_grad():
            for begin in range(0, max(len(origins), 1), size):
                rows = slice(begin, begin + size)
                ends = origins[rows].contiguous(), directions[rows].contiguous()
                parts.append(self._render(words, *ends, least_transmittance, stride))
                if progress is not None:
                    progress(min(begin + size, len(origins)))
        return Rendered(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("color", "alpha", "distance"))
        )

    def _render(
        self, words: Tensor, origins: Tensor, directions: Tensor, least_transmittance: float, stride: int
    ) -> Rendered:
        count, device = len(origins), origins.device
        color, distance = torch.zeros(count, 3, device=device), torch.zeros(count, device=device)
        transmittance = torch.ones(count, device=device)
        numbers, jitter = torch.zeros(count, device=device), torch.full((count,), 0.5, device=device)
        rays = torch.arange(count, dtype=torch.int32, device=device)
        while len(rays):
            limit = max(FEWEST, min(MOST, BATCH[device.type] // len(rays)))
            samples = self.marcher.march(
                words, origins, directions, jitter, limit=limit, stride=stride, rays=rays, numbers=numbers
            )
            self.compositor.accumulate(samples, self.model(samples.x), color, distance, transmittance)
            index = rays.long()
            going = (transmittance[index] >= least_transmittance) & (numbers[index] < 0.5 * NEVER)
            rays = rays[going]
        alpha = 1.0 - transmittance
        return Rendered(color, alpha, distance / alpha.clamp(min=1e-6))
