"""Lists of marked items, compacted on the device: work on them can be launched before the host knows how many there are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.cache.assembly import list_marked
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher

LIGHT_ITEMS = 1 << 15
"""Largest number of items per launch on the CPU of kernels that do little work per item."""


@dataclass(frozen=True)
class Marked:
    """The marked ones of N items, in order.

    Attributes:
        upto: Number of marked items up to each item and including it, int32 [N].
        items: Indices of the marked items, int32 [N], followed by zeros.
    """

    upto: Tensor
    items: Tensor

    @classmethod
    def of(cls, marks: Tensor, launcher: TorchLauncher) -> Marked:
        """List the marked items; `marks` is bool, or int32 of 0 and 1, [N], N at least 1."""
        upto = torch.cumsum(marks, dim=0, dtype=torch.int32)
        items = torch.zeros_like(upto)
        arguments = [as_warp(upto), as_warp(items)]
        launcher.run(list_marked, len(upto), lambda base: [base, *arguments], block_size=LIGHT_ITEMS)
        return cls(upto, items)

    @property
    def count(self) -> Tensor:
        """Number of marked items, int32 [1], on the device."""
        return self.upto[-1:]
