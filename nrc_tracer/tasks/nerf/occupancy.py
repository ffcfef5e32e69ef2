"""The occupancy grid: bits in cascades that tell where a scene may have density, updated while the field is trained.

Mueller et al., *Instant Neural Graphics Primitives* (2022), appendix E.2: each cell holds a density, which decays by a factor at
each visit and is raised to the density at a random point of the cell. Cells above a threshold are occupied. During the warm-up
each update visits all cells; later it visits some random cells and as many occupied ones. Two kinds of cells are never visited
and never occupied: those that no camera sees, and those of a cascade that a smaller cascade covers.

A step on a CPU costs less than a visit to all cells. On the CPU, while the field is still smooth, whole blocks of cells are
visited at one point each; see `Visits`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.nerf.compositing import MAX_LOG_DENSITY
from nrc_tracer.tasks.nerf.space import CELLS, MIN_STEP, RESOLUTION, Space, SpaceRecord, cascade_of, cell_at, cell_of

MAX_THICKNESS = 0.01
"""Largest threshold of a cell's optical thickness over the shortest step, above which the cell is occupied."""
MEAN_SHARE = 0.95
"""Threshold as a fraction of the mean over all cells, if that is below `MAX_THICKNESS`. Below 1, since all cells are about equal
at first, and none is empty."""
UNSEEN = -1.0
"""Value of cells that are never visited."""
LARGEST = 6e4
"""Largest thickness of a cell, close to the largest float16."""
WORD = 32
"""Cells per word of bits."""

wp.set_module_options({"enable_backward": False})


@wp.kernel
def occupied_bits(
    base: int, thickness: wp.array2d[wp.int16], threshold: int, words: wp.array[int], counts: wp.array[int]
):
    """Set the bits of 32 cells whose thickness, given by its own bits, is above the threshold, and count them."""
    i = base + wp.tid()
    word = int(0)
    count = int(0)
    for bit in range(WORD):
        if int(thickness[i, bit]) > threshold:
            word = word | (1 << bit)
            count += 1
    words[i] = word
    counts[i] = count


@wp.kernel
def select_bits(base: int, words: wp.array[int], place: wp.array[int], rank: wp.array[int], cells: wp.array[int]):
    """Find the cell of the set bit number `rank`, from 0, of the word `place`."""
    i = base + wp.tid()
    word = words[place[i]]
    left = rank[i]
    bit = int(0)
    while left > 0 or (word >> bit) & 1 == 0:
        left -= (word >> bit) & 1
        bit += 1
    cells[i] = WORD * place[i] + bit


@wp.kernel
def look_up(base: int, box: SpaceRecord, words: wp.array[int], points: wp.array[wp.vec3], found: wp.array[int]):
    """Look up whether the cell that contains a point is occupied."""
    i = base + wp.tid()
    p = points[i]
    number = cell_at(p, cascade_of(box, p))
    found[i] = (words[number >> 5] >> (number & 31)) & 1


@wp.kernel
def total(base: int, thickness: wp.array2d[wp.int16], sums: wp.array[float], counts: wp.array[int]):
    """Sum and count the thicknesses, given by their bits, of 32 cells that have been visited."""
    i = base + wp.tid()
    sum = float(0.0)
    count = int(0)
    for bit in range(WORD):
        # A float16 that is not negative, as a float32: the exponents differ by 112
        value = wp.cast(int(thickness[i, bit]) << 13, wp.float32) * wp.static(2.0**112)
        if value >= 0.0 and value <= wp.static(LARGEST):
            sum += value
            count += 1
    sums[i] = sum
    counts[i] = count


@wp.kernel
def see(
    base: int,
    cascades: int,
    near: float,
    to_camera: wp.array[wp.mat44],
    bounds: wp.array[wp.vec4],
    thickness: wp.array[wp.float16],
):
    """Mark a cell as 0 if any camera sees it, otherwise as UNSEEN."""
    i = base + wp.tid()
    cascade = i // CELLS
    cell = cell_of(i)
    size = float(1 << cascade) / float(RESOLUTION)
    x = float(cell[0]) - 0.5 * float(RESOLUTION) + 0.5
    y = float(cell[1]) - 0.5 * float(RESOLUTION) + 0.5
    z = float(cell[2]) - 0.5 * float(RESOLUTION) + 0.5
    center = wp.vec3(x * size + 0.5, y * size + 0.5, z * size + 0.5)
    radius = 0.8660254 * size
    seen = bool(False)
    covered = cascade > 0 and wp.max(wp.max(wp.abs(x), wp.abs(y)), wp.abs(z)) < 0.25 * float(RESOLUTION)
    if not covered:
        k = int(0)
        while k < to_camera.shape[0] and not seen:
            p = wp.transform_point(to_camera[k], center)
            b = bounds[k]
            if p[2] > -radius and wp.length(p) > near - radius:
                # The cone of each edge of the picture, widened by the cell's radius in every direction
                depth = wp.max(p[2], 0.0)
                seen = (
                    p[0] > b[0] * depth - radius * wp.sqrt(1.0 + b[0] * b[0])
                    and p[0] < b[1] * depth + radius * wp.sqrt(1.0 + b[1] * b[1])
                    and p[1] > b[2] * depth - radius * wp.sqrt(1.0 + b[2] * b[2])
                    and p[1] < b[3] * depth + radius * wp.sqrt(1.0 + b[3] * b[3])
                )
            k += 1
    if seen:
        thickness[i] = wp.float16(0.0)
    else:
        thickness[i] = wp.float16(wp.static(UNSEEN))


@wp.kernel
def places(
    base: int,
    extent: float,
    cells: wp.array[int],
    side: int,
    random: wp.array[wp.vec3],
    x: wp.array[wp.vec3],
):
    """Compute the model's input for a point, in [0, 1]^3, of the block of side^3 cells that starts with a cell."""
    i = base + wp.tid()
    number = cells[i]
    cell = cell_of(number)
    u = random[i]
    size = float(1 << (number // CELLS)) / extent
    corner = wp.vec3(float(cell[0]), float(cell[1]), float(cell[2]))
    x[i] = ((corner + float(side) * u) / float(RESOLUTION) - wp.vec3(0.5)) * size + wp.vec3(0.5)


@dataclass(frozen=True)
class Frustum:
    """What a camera sees, slightly enlarged.

    Attributes:
        to_camera: Transform from unit-cube space to the camera's axes, in which it looks along +z, [4, 4].
        bounds: Smallest and largest x / z, and smallest and largest y / z.
    """

    to_camera: Tensor
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True)
class Visits:
    """When cells are visited, and how many.

    Attributes:
        every: Steps between updates.
        warm_up: Stages of the warm-up: the number of updates that visit all blocks of cells, and the side of these blocks, 1, 2
            or 4.
        share: Fraction of the cells that may be occupied that each later update visits.
        at_most: Most visits per update.
        decay: Factor of a cell's value at each visit.
    """

    every: int = 16
    warm_up: tuple[tuple[int, int], ...] = ((16, 1),)
    share: float = 0.5
    at_most: int = 1 << 30
    decay: float = 0.95

    def side(self, update: int) -> int | None:
        """Side of the blocks in an update of the warm-up, None after the warm-up."""
        for updates, side in self.warm_up:
            if update < updates:
                return side
            update -= updates
        return None


class OccupancyGrid:
    """The occupancy grid.

    Args:
        space: The space.
        launcher: Launches the kernels.
        frusta: What the cameras see; everything if None.

    Attributes:
        thickness: Optical thickness of the shortest step in each cell, UNSEEN, or infinite before the first visit; float16
            [cascades * RESOLUTION^3].
        words: Bits of 32 cells each, int32.
        threshold: Thickness above which cells are occupied.
        updates: Number of updates so far.
    """

    def __init__(self, space: Space, launcher: TorchLauncher, frusta: Sequence[Frustum] | None = None) -> None:
        self.space = space
        self.launcher = launcher
        device = launcher.torch_device
        count = space.cascades * CELLS
        self.thickness = torch.zeros(count, dtype=torch.float16, device=device)
        self.words = torch.zeros(count // WORD, dtype=torch.int32, device=device)
        self._counts = torch.zeros_like(self.words)
        near = space.near
        if frusta is None:
            near = 0.0
            behind = Frustum(torch.eye(4), (-1.0, 1.0, -1.0, 1.0))
            turned = Frustum(torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0])), (-1.0, 1.0, -1.0, 1.0))
            frusta = [Frustum(f.to_camera, (-1e6, 1e6, -1e6, 1e6)) for f in (behind, turned)]
        matrices = torch.stack([frustum.to_camera for frustum in frusta]).float().to(device)
        bounds = torch.tensor([frustum.bounds for frustum in frusta], dtype=torch.float32, device=device)
        arguments = [as_warp(matrices, wp.mat44), as_warp(bounds, wp.vec4), as_warp(self.thickness)]
        launcher.run(see, count, lambda base: [base, space.cascades, near, *arguments], block_size=1 << 14)
        self._open = self._open_blocks(1)
        self.updates = 0
        self.thickness[self._open.long()] = math.inf
        self._set_bits()

    def restore(self, thickness: Tensor, updates: int) -> None:
        """Continue from saved values of `thickness` and `updates`."""
        self.thickness.copy_(thickness)
        self.updates = updates
        self._open = self._open_blocks(1)
        self._set_bits()

    def _open_blocks(self, side: int) -> Tensor:
        """The blocks of side^3 cells of which any may be occupied, by number in the order of cells, int32."""
        return torch.nonzero((self.thickness.view(-1, side**3) >= 0.0).any(dim=1))[:, 0].int()

    @property
    def open_cells(self) -> int:
        """Number of cells that may be occupied."""
        return len(self._open)

    def occupied_share(self) -> float:
        """Fraction of the cells that may be occupied that are occupied."""
        return float((self.thickness > self.threshold).sum()) / max(self.open_cells, 1)

    def occupied(self, points: Tensor) -> Tensor:
        """Whether points in unit-cube space, float32 [N, 3], lie in occupied cells, bool [N]."""
        found = torch.empty(len(points), dtype=torch.int32, device=points.device)
        arguments = [self.space.record(), as_warp(self.words), as_warp(points.contiguous(), wp.vec3), as_warp(found)]
        self.launcher.run(look_up, len(points), lambda base: [base, *arguments], block_size=1 << 13)
        return found > 0

    def update(self, log_density: Callable[[Tensor], Tensor], generator: torch.Generator, visits: Visits) -> None:
        """Visit cells.

        Args:
            log_density: Raw density [N] at positions of the model's input [N, 3].
            generator: Random generator on the grid's device.
            visits: How many cells to visit.
        """
        if not self.open_cells:
            return
        side = visits.side(self.updates)
        if side is not None:
            blocks = self._open if side == 1 else self._open_blocks(side)
            chosen = blocks[self._ranks(len(blocks), visits.at_most, generator)]
            self._visit(chosen, side, log_density, generator, visits.decay)
        else:
            half = max(min(visits.at_most, math.ceil(visits.share * self.open_cells)) // 2, 1)
            for some in (self._some_open, self._some_occupied):
                self._visit(some(half, generator), 1, log_density, generator, visits.decay)
        self.updates += 1
        self._set_bits()

    def _ranks(self, total: int, count: int, generator: torch.Generator) -> Tensor:
        """About `count` different numbers below `total`, ascending, int64: a random one from each of as many ranges."""
        device = self.words.device
        if count >= total:
            return torch.arange(total, device=device)
        place = torch.arange(count, dtype=torch.float64, device=device)
        place += torch.rand(count, generator=generator, device=device)
        return torch.unique_consecutive((place * (total / count)).long().clamp(max=total - 1))

    def _some_open(self, count: int, generator: torch.Generator) -> Tensor:
        """About `count` of the cells that may be occupied, int32."""
        return self._open[self._ranks(self.open_cells, count, generator)]

    def _some_occupied(self, count: int, generator: torch.Generator) -> Tensor:
        """About `count` of the cells whose bits are set, int32."""
        ends = torch.cumsum(self._counts, 0)
        ranks = self._ranks(int(ends[-1]), count, generator)
        words = torch.searchsorted(ends, ranks, right=True)
        within = (ranks - ends[words] + self._counts[words]).int()
        cells = torch.empty_like(within)
        arguments = [as_warp(tensor) for tensor in (self.words, words.int(), within, cells)]
        self.launcher.run(select_bits, len(cells), lambda base: [base, *arguments], block_size=1 << 13)
        return cells

    def _visit(
        self,
        blocks: Tensor,
        side: int,
        log_density: Callable[[Tensor], Tensor],
        generator: torch.Generator,
        decay: float,
    ) -> None:
        """Update cells, decayed, by the density at a random point of their block; no block may occur twice."""
        device = blocks.device
        random = torch.rand(len(blocks), 3, generator=generator, device=device)
        x = torch.empty_like(random)
        first = blocks * side**3
        arguments = [float(self.space.extent), as_warp(first), side, as_warp(random, wp.vec3), as_warp(x, wp.vec3)]
        self.launcher.run(places, len(blocks), lambda base: [base, *arguments], block_size=1 << 13)
        raw = log_density(x).clamp(-MAX_LOG_DENSITY, MAX_LOG_DENSITY)
        found = torch.nan_to_num(raw.exp() * MIN_STEP, nan=0.0).clamp(max=LARGEST)[:, None]
        held = self.thickness.view(-1, side**3)
        rows = blocks.long()
        before = held[rows].float()
        after = torch.where(before < math.inf, torch.maximum(decay * before, found), found)
        held[rows] = torch.where(before < 0.0, before, after).half()

    def _set_bits(self) -> None:
        """Set bits and threshold; cells not yet visited are occupied and do not count in the mean."""
        rows = as_warp(self.thickness.view(torch.int16).view(-1, WORD))
        sums = torch.empty(len(self.words), device=self.words.device)
        counts = torch.empty_like(self.words)
        self._run(total, [rows, as_warp(sums), as_warp(counts)])
        count = int(counts.sum())
        mean = float(sums.sum(dtype=torch.float64)) / count if count else 0.0
        self.threshold = min(MAX_THICKNESS, MEAN_SHARE * mean)
        self._run(occupied_bits, [rows, bits_of(self.threshold), as_warp(self.words), as_warp(self._counts)])

    def _run(self, kernel: wp.Kernel, arguments: list) -> None:
        self.launcher.run(kernel, len(self.words), lambda base: [base, *arguments], block_size=1 << 13)


def bits_of(threshold: float) -> int:
    """The bits of the largest float16 up to a threshold of at least 0: float16 above it have larger bits, as signed integers."""
    nearest = np.float16(threshold)
    return int(nearest.view(np.int16)) - int(float(nearest) > threshold)
