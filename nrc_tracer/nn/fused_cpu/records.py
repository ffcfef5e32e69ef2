"""The state of an optimizer with one record per parameter, so that a step reads one cache line where it would read five.

A record has both moments of Adam, the step count and, if averages are kept, the last step of the average and the average: 4 or 8
floats, some of them unused. The tensors of the optimizers become views of the records, with the same values and shapes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nrc_tracer.device.pages import prefer_large_pages
from nrc_tracer.nn.optimizers.adam import Adam
from nrc_tracer.nn.optimizers.ema import Ema

PLAIN_SIZE, SIZE = 4, 8
"""Sizes of a record without and with an average [floats]."""

COUNT, UPDATED, AVERAGE = 2, 3, 4
"""Places in a record of the step count, of the last step of the average, and of the average. The moments are at 0 and 1."""


class Records:
    """The records of all parameters.

    Args:
        adam: Adam, with moments in float32.
        ema: The average around it, or None.
    """

    def __init__(self, adam: Adam, ema: Ema | None) -> None:
        self._adam, self._ema = adam, ema
        self.size = PLAIN_SIZE if ema is None else SIZE
        """Size of a record [floats]."""
        self._views: list[Tensor] = []

    def address(self) -> int:
        """The address of the records, aligned to a cache line. The optimizers' tensors are views of them from now on."""
        adam, ema = self._adam, self._ema
        if not self._views:
            size = self.size * adam.n_params
            room = prefer_large_pages(torch.empty(size + 16))
            first = -(room.data_ptr() // 4) % 16
            records = room[first : first + size].view(-1, self.size).zero_()
            whole = records.view(torch.int32)
            self._views = [records[:, :COUNT], whole[:, COUNT]]
            if ema is not None:
                self._views += [whole[:, UPDATED], records[:, AVERAGE]]
        # Whoever uses the optimizer otherwise may have replaced its tensors
        moments, counts, *others = self._views
        if adam.moments is not moments or adam.counts is not counts:
            adam.moments, adam.counts = moments.copy_(adam.moments), counts.copy_(adam.counts)
        if ema is not None:
            updated, averages = others
            if ema.updated is not updated or ema.averages is not averages:
                ema.updated, ema.averages = updated.copy_(ema.updated), averages.copy_(ema.averages)
        return moments.data_ptr()
