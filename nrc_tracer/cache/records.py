"""What paths that are cut leave behind: for each cut the features of its vertex, and what was gathered from one to the next.

A path from the camera is cut at some of its vertices. Segment 0 is what comes before the first cut, segment j what comes after
cut j - 1. Of each segment two things are kept, both in units of radiance at its own beginning: `gathered`, the light found on it,
and the `throughput` to the cut at its end. So what scatters at cut j is

    T_j = gathered[j + 1] + throughput[j + 1] T_(j + 1)

and the radiance that the camera sees is gathered[0] + throughput[0] T_0. A path ends by itself (escape, absorption, roulette),
which leaves a segment without a cut at its end, or at a cut where the cache stands in for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import warp as wp

FEATURES = 14
"""Columns of a vertex's features: position 3, direction 2, normal 2, roughness 1, diffuse and specular reflectance 3 + 3."""

DIFFUSE, SPECULAR = slice(8, 11), slice(11, 14)
"""Of these columns, those of the two reflectances."""

# How a path ended
COMPLETE = wp.constant(0)
IN_CACHE = wp.constant(1)  # at its last cut, where the cache stands in
BROKEN = wp.constant(2)  # at something that is not finite: none of it counts


@wp.struct
class Records:
    """Arrays of paths with up to `capacity` cuts each."""

    capacity: int
    features: wp.array2d[float]  # [paths * capacity, FEATURES]
    throughput: wp.array[wp.vec3]  # [paths * capacity]
    gathered: wp.array[wp.vec3]  # [paths * (capacity + 1)]
    count: wp.array[int]  # cuts of each path
    status: wp.array[int]
    length: wp.array[int]  # vertices of each path
    depth: wp.array[int]  # number of the vertex of the first cut, counted from 1; 0 without a cut
    pixel: wp.array[int]  # through which each path goes


@dataclass(frozen=True)
class RecordBuffers:
    """Room for the records of `paths` paths, as torch tensors that share memory with what kernels write.

    Attributes:
        paths: Number of paths.
        capacity: Cuts for which each has room.
        features: [paths, capacity, FEATURES], float32.
        throughput: [paths, capacity, 3], float32.
        gathered: [paths, capacity + 1, 3], float32.
        count: Cuts of each path, [paths], int32.
        status: How each path ended, [paths], int32.
        length: Vertices of each path, [paths], int32.
        depth: Number of the vertex of its first cut, counted from 1, [paths], int32; 0 without a cut.
        pixel: Number of the pixel through which each path goes, [paths], int32.
        record: For kernels.
    """

    paths: int
    capacity: int
    features: torch.Tensor
    throughput: torch.Tensor
    gathered: torch.Tensor
    count: torch.Tensor
    status: torch.Tensor
    length: torch.Tensor
    depth: torch.Tensor
    pixel: torch.Tensor
    record: Records

    @classmethod
    def allocate(cls, paths: int, capacity: int, device: torch.device) -> RecordBuffers:
        """Make room."""

        def floats(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float32, device=device)

        features = floats(paths, capacity, FEATURES)
        throughput, gathered = floats(paths, capacity, 3), floats(paths, capacity + 1, 3)
        numbers = [torch.zeros(paths, dtype=torch.int32, device=device) for _ in range(5)]
        record = Records()
        record.capacity = capacity
        record.features = wp.from_torch(features.view(-1, FEATURES), dtype=wp.float32)
        record.throughput = wp.from_torch(throughput.view(-1, 3), dtype=wp.vec3)
        record.gathered = wp.from_torch(gathered.view(-1, 3), dtype=wp.vec3)
        arrays = (wp.from_torch(number, dtype=wp.int32) for number in numbers)
        record.count, record.status, record.length, record.depth, record.pixel = arrays
        return cls(paths, capacity, features, throughput, gathered, *numbers, record)
