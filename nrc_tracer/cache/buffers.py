"""The records of cut paths as torch tensors, over the memory that kernels write."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import warp as wp

from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.records import Records


@dataclass(frozen=True)
class RecordBuffers:
    """Room for the records of `paths` paths.

    Attributes:
        paths: Number of paths.
        capacity: Largest number of cuts of a path.
        features: [paths, capacity, FEATURES], float32.
        throughput: [paths, capacity, 3], float32.
        gathered: [paths, capacity + 1, 3], float32.
        count: Number of cuts of each path, [paths], int32.
        status: How each path ended, [paths], int32.
        length: Number of vertices of each path, [paths], int32.
        depth: Number of the vertex of the first cut, counted from 1, [paths], int32; 0 without a cut.
        pixel: Number of the pixel of each path, [paths], int32.
        record: The same memory as kernels take it.
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
        """Allocate buffers of zeros."""

        def floats(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float32, device=device)

        features = floats(paths, capacity, FEATURES)
        throughput, gathered = floats(paths, capacity, 3), floats(paths, capacity + 1, 3)
        count, status, length, depth, pixel = (torch.zeros(paths, dtype=torch.int32, device=device) for _ in range(5))
        record = Records()
        record.capacity = capacity
        record.features = wp.from_torch(features.view(-1, FEATURES), dtype=wp.float32)
        record.throughput = wp.from_torch(throughput.view(-1, 3), dtype=wp.vec3)
        record.gathered = wp.from_torch(gathered.view(-1, 3), dtype=wp.vec3)
        record.count, record.status, record.length, record.depth, record.pixel = (
            wp.from_torch(numbers, dtype=wp.int32) for numbers in (count, status, length, depth, pixel)
        )
        return cls(paths, capacity, features, throughput, gathered, count, status, length, depth, pixel, record)
