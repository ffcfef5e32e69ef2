"""Memory for gradients that autograd hands out, reused once nobody holds it any more."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.device.pages import prefer_large_pages

MOST = 2
"""Most blocks of memory kept: one for the gradient that a parameter keeps, and one for the next that is added to it."""

SMALLEST = 1 << 18
"""Smallest number of values for which memory is reused. For fewer, a new tensor is faster."""

PIECE = 1 << 20
"""Number of values that one thread sets to zero at a time."""


class GradientMemory:
    """Makes tensors of zeros of one size, in memory of earlier ones that are no longer in use.

    Fresh memory is slow: the system maps and clears it page by page. A tensor's memory counts as in use while any tensor or NumPy
    array shares it, such as a parameter's `grad`, a view of it, or a detached copy.

    Args:
        size: Number of values of each tensor.
        launcher: The CPU launcher, whose threads share the work.
    """

    def __init__(self, size: int, launcher: Launcher) -> None:
        self._size = size
        self.launcher = launcher
        self._lock = threading.Lock()
        self._blocks: list[np.ndarray] = []
        self._loans: list[Callable[[], np.ndarray | None]] = []

    def zeros(self) -> Tensor:
        """A tensor of zeros, float32 [size], that shares no memory with any other tensor."""
        if self._size < SMALLEST:
            return torch.zeros(self._size)
        view = self._borrow()
        if view is None:
            return torch.zeros(self._size)
        result = torch.from_numpy(view)

        def clear(begin: int) -> None:
            result[begin : begin + PIECE] = 0.0

        self.launcher.each(clear, range(0, self._size, PIECE))
        return result

    def _borrow(self) -> np.ndarray | None:
        """A view of a block that no tensor uses; None if there are `MOST` blocks, all in use."""
        with self._lock:
            # Torch holds a view as long as any tensor shares its memory
            free = next((index for index, loan in enumerate(self._loans) if loan() is None), None)
            if free is None:
                if len(self._blocks) == MOST:
                    return None
                free = len(self._blocks)
                self._blocks.append(prefer_large_pages(torch.empty(self._size)).numpy())
                self._loans.append(lambda: None)
            view = self._blocks[free][:]
            self._loans[free] = weakref.ref(view)
            return view
