"""The few items of many that something is wanted of, listed on the device: work on them can be launched before it is known how
many there are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.cache.assembly import list_marked
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher

LIGHT_ITEMS = 1 << 15
"""Of kernels that do little for each, per launch on the CPU at most."""


@dataclass(frozen=True)
class Marked:
    """The items that are marked, in their order.

    Attributes:
        upto: How many are marked up to each item, itself counted, int32 [N].
        items: Their numbers, int32 [N]: the first `count` of them; what comes after is 0.
    """

    upto: Tensor
    items: Tensor

    @classmethod
    def of(cls, marks: Tensor, launcher: TorchLauncher) -> Marked:
        """List the items with a mark: bool or, of 0 and 1, int32 [N], N at least 1."""
        upto = torch.cumsum(marks, dim=0, dtype=torch.int32)
        items = torch.zeros_like(upto)
        arguments = [as_warp(upto), as_warp(items)]
        launcher.run(list_marked, len(upto), lambda base: [base, *arguments], block_size=LIGHT_ITEMS)
        return cls(upto, items)

    @property
    def count(self) -> Tensor:
        """How many there are, int32 [1], on the device."""
        return self.upto[-1:]
