"""Residuals: what continued paths find beyond the cache, minus its prediction, summed apart from the film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.errors import CacheError

HALVES = 2
"""Number of parts that the samples of a pixel are divided into; the noise of one is measured on the other."""


@wp.func
def half_of(sample: int) -> int:
    """The half that a sample belongs to: the parity of the number of ones in its index.

    Even and odd indices would not do: they are the two halves of every first dimension of a Sobol sequence.
    """
    ones = int(0)
    rest = int(sample)
    while rest > 0:
        ones += rest & 1
        rest = rest >> 1
    return ones & 1


def half_counts(samples: int) -> tuple[int, int]:
    """Number of samples of each half among the first `samples` ones; they differ by at most one."""
    second = samples // 2 + ((samples - 1).bit_count() & samples & 1)
    return samples - second, second


@wp.struct
class ResidualRecord:
    """The sums of residuals as kernels take them."""

    sums: wp.array2d[wp.vec3d]  # [HALVES, pixels]
    squares: wp.array2d[wp.vec3d]  # [HALVES, pixels]


@dataclass(frozen=True)
class Residuals:
    """Sums of the residuals r = T (L - C) / p of an image, which are 0 for paths that end in the cache.

    T is the throughput of a path to its cut, L the radiance that it found to scatter there, C the prediction that the film was
    given, and p the probability with which it continued. The mean of r is what the cached image lacks.

    Attributes:
        sums: Sums of the residuals of each half of the samples, float64 [HALVES, pixels, 3].
        squares: Sums of their squares, in the same shape.
    """

    sums: Tensor
    squares: Tensor

    @classmethod
    def zeros(cls, pixels: int, device: torch.device | str) -> Residuals:
        """The residuals of an image without samples."""
        sums, squares = (torch.zeros((HALVES, pixels, 3), dtype=torch.float64, device=device) for _ in range(2))
        return cls(sums, squares)

    def clear(self) -> None:
        """Begin a new image."""
        self.sums.zero_()
        self.squares.zero_()

    def record(self) -> ResidualRecord:
        """The same memory for kernels."""
        record = ResidualRecord()
        record.sums, record.squares = (wp.from_torch(x, dtype=wp.vec3d) for x in (self.sums, self.squares))
        return record

    def add(self, sums: Tensor, squares: Tensor) -> None:
        """Add the sums of other samples of the same pixels."""
        self.sums.add_(sums)
        self.squares.add_(squares)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for files."""
        return {_PREFIX + name: tensor for name, tensor in vars(self).items()}

    def check(self, tensors: Mapping[str, Tensor]) -> None:
        """Check that a file has these tensors, in their shapes and types. Raises `CacheError` if not."""
        for name, tensor in self.tensors().items():
            there = tensors.get(name)
            if there is None or there.shape != tensor.shape or there.dtype != tensor.dtype:
                raise CacheError("radiance cache: the residuals of its image are damaged")

    def assign(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from tensors that `check` has accepted."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    @staticmethod
    def is_name(name: str) -> bool:
        """Whether a tensor in a file is one of residuals."""
        return name.startswith(_PREFIX)


_PREFIX = "residual_"
