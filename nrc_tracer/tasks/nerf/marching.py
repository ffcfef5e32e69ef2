"""Where rays sample a radiance field: at points of their lattice of distances that lie in occupied cells.

`march` finds the distances of up to `limit` samples of each ray; every ray writes to a row of its own. A prefix sum of the counts
gives each ray its range of rows among all samples, into which `gather` writes the model's input. No counter is shared, so results
depend only on the rays and the grid. A view is rendered a few samples of each ray at a time: `numbers` keeps where each ray
continues.
"""

from dataclasses import dataclass

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.nerf.space import (
    NEVER,
    RESOLUTION,
    Space,
    SpaceRecord,
    cascade_of,
    cell_at,
    distance_of,
    in_cells,
    model_position,
    number_at,
    step_at,
)

BEYOND = 2e-4
"""Distance by which rays pass walls of empty blocks, in cells, so that rounding does not leave them on the near side."""
RAYS_PER_LAUNCH = 2048
"""Most rays per launch on the CPU. The arguments of a launch take some 0.03 ms to pack."""

wp.set_module_options({"enable_backward": False})


@wp.func
def crossing(low: float, high: float, origin: float, direction: float, span: wp.vec2) -> wp.vec2:
    """The part of a range of distances in which a ray is between two planes; empty if the ray is not finite."""
    if not wp.isfinite(origin + direction):
        return wp.vec2(1.0, 0.0)
    if wp.abs(direction) < 1.0e-12:
        if origin < low or origin > high:
            return wp.vec2(1.0, 0.0)
        return span
    a = (low - origin) / direction
    b = (high - origin) / direction
    return wp.vec2(wp.max(span[0], wp.min(a, b)), wp.min(span[1], wp.max(a, b)))


@wp.func
def inverse(direction: float) -> float:
    """1 / direction, and NEVER for 0."""
    if direction == 0.0:
        return NEVER
    return 1.0 / direction


@wp.func
def to_next(position: float, slope: float) -> float:
    """Distance to the next integer position along an axis, given the inverse of the direction."""
    if slope > 0.0:
        return (wp.floor(position) + 1.0 - position) * slope
    return (wp.floor(position) - position) * slope


@wp.func
def to_next_block(q: wp.vec3, slopes: wp.vec3, size: float) -> float:
    """Distance to the next block of size^3 cells, in cells."""
    p = q / size
    return size * wp.min(wp.min(to_next(p[0], slopes[0]), to_next(p[1], slopes[1])), to_next(p[2], slopes[2]))


@wp.kernel
def march(
    base: int,
    box: SpaceRecord,
    words: wp.array[int],
    rays: wp.array[int],
    origins: wp.array[wp.vec3],
    directions: wp.array[wp.vec3],
    jitter: wp.array[float],
    stride: int,
    limit: int,
    numbers: wp.array[float],
    distances: wp.array2d[float],
    counts: wp.array[int],
):
    """Find the distances of a ray's next samples; its lattice number becomes NEVER when it has left the box."""
    i = base + wp.tid()
    ray = rays[i]
    origin = origins[ray]
    direction = directions[ray]
    shift = jitter[ray]
    slopes = wp.vec3(inverse(direction[0]), inverse(direction[1]), inverse(direction[2]))
    low = 0.5 - 0.5 * box.extent
    high = 0.5 + 0.5 * box.extent
    span = wp.vec2(box.near, NEVER)
    for axis in range(3):
        span = crossing(low, high, origin[axis], direction[axis], span)
    number = wp.max(numbers[ray], wp.ceil(number_at(box, wp.max(span[0], 0.0)) - shift))
    t = distance_of(box, number + shift)
    on_lattice = bool(True)
    count = int(0)
    while count < limit and number < NEVER:
        if not (t < span[1]):  # true for NaN too
            number = NEVER
        else:
            p = origin + t * direction
            cascade = cascade_of(box, p)
            cell = float(1 << cascade) / float(RESOLUTION)
            index = cell_at(p, cascade)
            word = words[index >> 5]
            if (word >> (index & 31)) & 1 == 0:
                # Pass the largest empty block, whether or not a sample is at its end
                size = float(1.0)
                if word == 0 and words[(index >> 5) ^ 1] == 0:
                    size = 4.0
                elif (word >> (index & 24)) & 255 == 0:
                    size = 2.0
                t += cell * (to_next_block(in_cells(p, cascade), slopes, size) + wp.static(BEYOND))
                on_lattice = False
            elif not on_lattice:
                # Look up the first sample from here on
                number = wp.max(number, wp.ceil(number_at(box, t) - shift))
                t = distance_of(box, number + shift)
                on_lattice = True
            else:
                distances[i, count] = t
                count += 1
                number += float(stride)
                t = distance_of(box, number + shift)
    numbers[ray] = number
    counts[i] = count


@wp.func
def first_row(ends: wp.array[int], i: int) -> int:
    """The first row of the i-th ray's samples."""
    if i == 0:
        return 0
    return ends[i - 1]


@wp.kernel
def gather(
    base: int,
    box: SpaceRecord,
    rays: wp.array[int],
    origins: wp.array[wp.vec3],
    directions: wp.array[wp.vec3],
    distances: wp.array2d[float],
    ends: wp.array[int],
    stride: int,
    x: wp.array2d[float],
    t: wp.array[float],
    steps: wp.array[float],
):
    """Write the model's input for the samples of a ray, whose rows end at ends[i]."""
    i = base + wp.tid()
    ray = rays[i]
    origin = origins[ray]
    direction = directions[ray]
    begin = first_row(ends, i)
    for k in range(ends[i] - begin):
        row = begin + k
        distance = distances[i, k]
        p = model_position(box, origin + distance * direction)
        for axis in range(3):
            x[row, axis] = p[axis]
            x[row, 3 + axis] = 0.5 * direction[axis] + 0.5
        t[row] = distance
        steps[row] = float(stride) * step_at(box, distance)


@wp.kernel
def keep(
    base: int,
    old_ends: wp.array[int],
    ends: wp.array[int],
    old_x: wp.array2d[float],
    old_t: wp.array[float],
    old_steps: wp.array[float],
    x: wp.array2d[float],
    t: wp.array[float],
    steps: wp.array[float],
):
    """Copy the first samples of a ray, as many as have room."""
    i = base + wp.tid()
    old_begin = first_row(old_ends, i)
    begin = first_row(ends, i)
    for k in range(ends[i] - begin):
        for column in range(6):
            x[begin + k, column] = old_x[old_begin + k, column]
        t[begin + k] = old_t[old_begin + k]
        steps[begin + k] = old_steps[old_begin + k]


@dataclass(frozen=True)
class Samples:
    """Samples of rays, one ray after the other.

    Attributes:
        rays: The rays, by number, int32 [M].
        ends: End of each ray's range of samples, int32 [M].
        x: The model's input, float32 [S, 6]: position, then (direction + 1) / 2.
        t: Distance from the origin in unit cubes, float32 [S].
        steps: Length of the step that each sample stands for, float32 [S].
    """

    rays: Tensor
    ends: Tensor
    x: Tensor
    t: Tensor
    steps: Tensor

    def __len__(self) -> int:
        return len(self.x)

    @staticmethod
    def empty(rays: Tensor, ends: Tensor) -> "Samples":
        """Samples whose values are still to be written."""
        total, device = int(ends[-1]) if len(ends) else 0, ends.device
        t = torch.empty(total, device=device)
        return Samples(rays, ends, torch.empty(total, 6, device=device), t, torch.empty_like(t))

    def first(self, counts: Tensor, launcher: TorchLauncher) -> "Samples":
        """The first `counts` samples of each ray, int32 [M]."""
        result = Samples.empty(self.rays, torch.cumsum(counts, 0, dtype=torch.int32))
        arrays = [as_warp(self.ends), as_warp(result.ends)]
        arrays += [as_warp(tensor) for part in (self, result) for tensor in (part.x, part.t, part.steps)]
        launcher.run(keep, len(counts), lambda base: [base, *arrays], block_size=RAYS_PER_LAUNCH)
        return result


class Marcher:
    """Marches rays through a space.

    Args:
        space: The space.
        launcher: Launches the kernels.
    """

    def __init__(self, space: Space, launcher: TorchLauncher) -> None:
        self.launcher = launcher
        self._box = space.record()
        self._scratch = torch.empty(0)

    def march(
        self,
        words: Tensor,
        origins: Tensor,
        directions: Tensor,
        jitter: Tensor,
        *,
        limit: int,
        stride: int = 1,
        rays: Tensor | None = None,
        numbers: Tensor | None = None,
        most: int | None = None,
    ) -> Samples:
        """The next samples of rays.

        Args:
            words: Bits of the grid, int32 (`OccupancyGrid.words`).
            origins, directions: float32 [N, 3], directions of length 1.
            jitter: Shift of each ray's samples along its lattice, float32 [N], in [0, 1).
            limit: Most samples of one ray.
            stride: Steps of the lattice from one sample to the next, all of which the sample stands for.
            rays: Numbers of the rays to march, int32 [M]; all if None.
            numbers: Lattice number at which each ray continues, float32 [N]; updated, to NEVER for rays that have left the box.
            most: Most samples of all rays: rays beyond those that fill it are omitted from the result.
        """
        device = origins.device
        if rays is None:
            rays = torch.arange(len(origins), dtype=torch.int32, device=device)
        if numbers is None:
            numbers = torch.zeros(len(origins), device=device)
        scratch = self._take_scratch(len(rays) * limit, device)
        distances = scratch[: len(rays) * limit].view(len(rays), limit)
        counts = torch.zeros(len(rays), dtype=torch.int32, device=device)
        both = [as_warp(origins, wp.vec3), as_warp(directions, wp.vec3)]
        march_arguments = [as_warp(jitter), stride, limit, as_warp(numbers), as_warp(distances), as_warp(counts)]
        self._run(march, len(rays), [self._box, as_warp(words), as_warp(rays), *both, *march_arguments])
        ends = torch.cumsum(counts, 0, dtype=torch.int32)
        if most is not None:
            kept = int((ends <= most).sum())
            rays, ends = rays[:kept], ends[:kept]
        samples = Samples.empty(rays, ends)
        rows = [as_warp(tensor) for tensor in (samples.x, samples.t, samples.steps)]
        self._run(
            gather, len(rays), [self._box, as_warp(rays), *both, as_warp(distances), as_warp(ends), stride, *rows]
        )
        self._scratch = scratch
        return samples

    def _take_scratch(self, size: int, device: torch.device) -> Tensor:
        """Memory for at least `size` floats: that of the last call if it is large enough, and no other thread has taken it."""
        scratch, self._scratch = self._scratch, torch.empty(0)
        return scratch if len(scratch) >= size and scratch.device == device else torch.empty(size, device=device)

    def _run(self, kernel: wp.Kernel, count: int, arguments: list) -> None:
        self.launcher.run(kernel, count, lambda base: [base, *arguments], block_size=RAYS_PER_LAUNCH)
