"""Numbers that depend only on a step count, in tables instead of computed for every parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp

FIRST_LENGTH = 4096
"""Initial number of elements of a table."""

NEGLIGIBLE = 60
"""Decays b^t below 2^-NEGLIGIBLE are taken as 0: in float32 they do not change a sum with 1."""


class StepTable:
    """f(t) for t = 0, 1, 2, ..., computed in float64, stored in float32 and extended as needed.

    f depends on t through powers b^t of some decays b. The table ends where all of them are negligible; later steps have its last
    value.

    Args:
        function: f, from an array of steps [n] to float64 [n] or [n, k].
        decays: The decays b, at least 0 and below 1.
        device: Device of the table.
        dtype: Warp type of an element.

    Attributes:
        values: The table, float32 [length] or [length, k].
        length: Number of its elements.
        address: Address of its memory.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        decays: tuple[float, ...],
        device: wp.Device,
        dtype: Any = None,
    ) -> None:
        self._function = function
        self._longest = 1 + max(1 if b == 0 else math.ceil(-NEGLIGIBLE / math.log2(b)) for b in decays)
        self._torch_device = wp.device_to_torch(device)
        self._dtype = dtype
        self.values: Tensor = torch.empty(0)
        self.length = self.address = 0

    def extend(self, step: int) -> None:
        """Make the table valid for steps 0 .. step."""
        if self.length <= step and self.length < self._longest:
            self.length = min(max(FIRST_LENGTH, 2 ** (step + 1).bit_length()), self._longest)
            values = self._function(np.arange(self.length, dtype=np.float64)).astype(np.float32)
            self.values = torch.from_numpy(values).to(self._torch_device)
            self.address = self.values.data_ptr()

    def up_to(self, step: int) -> Any:
        """The table as a kernel argument, valid for steps 0 .. step."""
        self.extend(step)
        return as_warp(self.values, self._dtype)

    def whole(self) -> Any:
        """The table as a kernel argument, valid for all steps."""
        return self.up_to(self._longest - 1)
