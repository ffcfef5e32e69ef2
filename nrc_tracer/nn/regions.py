"""The gradients of a grid's entries, summed over a batch: for all entries, or on the CPU only for those that a step touches.

A grid with 2^19 entries per level has twelve million parameters, and a step touches a few per cent of them. With lists, an
optimizer visits only those, and their sums are stored side by side. An entry's *slot* holds the place of its sum, together with
the *stamp* of the step that assigned it: an entry with an older stamp has no sum yet, so nothing has to be cleared between steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import structs_as_warp
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.encodings.grid_kernels import Region
from nrc_tracer.nn.encodings.grid_layout import GridLayout
from nrc_tracer.nn.encodings.grid_snippets import SORTED_FROM
from nrc_tracer.nn.touched_lists import ListedStretch, ListOrder, TouchedLists

ENTRIES_PER_ITEM = 2048
"""Number of list entries per item of an optimizer's kernel."""


@dataclass(frozen=True)
class Stretch:
    """The list of one region in a step.

    Attributes:
        begin: Its first place in `Regions.touched`, and that of its sums in `Regions.values`.
        end: One past its last place.
        order: The order of its entries.
        first: The first entry of the region.
    """

    begin: int
    end: int
    order: ListOrder
    first: int


class Regions:
    """The entries of a grid, cut into regions that are each written by one thread, with or without lists of touched entries.

    Args:
        layout: The grid's tables.
        device: Where the arrays live.
        threads: Number of threads. With few levels per thread, levels are cut into several regions; sums do not depend on it.
        listed: Keep lists of touched entries with their sums (CPU only); else gradients go to a tensor of all entries.

    Attributes:
        begins: Where each region's list begins in `touched`, and its sums in `values`, int64 [regions].
        slots: Per entry the stamp of the step that last touched it, and in the lowest `slot_bits` the place of its sum, counted
            from the region's begin, int32 [entries].
        touched: The lists of touched entries, int32 [n].
        values: The sums, float32 [n, features].
        counts: Number of entries in each list, int32 [regions].
    """

    def __init__(self, layout: GridLayout, device: wp.Device, threads: int, *, listed: bool) -> None:
        self.layout = layout
        parts = 1 if device.is_cuda else max(1, -(-2 * threads // len(layout.levels))) if threads > 1 else 1
        rows = []
        for index, level in enumerate(layout.levels):
            cuts = np.linspace(0, level.entries, min(parts, level.entries) + 1).astype(np.int64)
            rows += [(index, first, last) for first, last in itertools.pairwise(cuts)]
        self.count = len(rows)
        self.first = np.array([layout.levels[level].offset + first for level, first, _ in rows], dtype=np.int64)
        self.sizes = np.array([last - first for _, first, last in rows], dtype=np.int64)
        """The first entry of each region, counted from the grid's first, and the number of its entries."""
        self.rows = structs_as_warp(rows, Region, device)
        self.listed = listed
        self._corners = 2**layout.n_dims
        self._level_entries = np.array([layout.levels[level].entries for level, _, _ in rows], dtype=np.int64)
        self._points = 0
        self._n_points_reserved = -1
        self._device = device
        self._torch_device = wp.device_to_torch(device)
        self.stamp = 1 if listed else 0
        self.slot_bits = 1
        self._lists = TouchedLists()
        self.slots = torch.zeros(layout.n_entries if listed else 0, dtype=torch.int32, device=self._torch_device)
        self.counts = torch.zeros(self.count if listed else 0, dtype=torch.int32, device=self._torch_device)
        self._make_room(0)

    def reserve(self, n_points: int) -> None:
        """Make room for the entries that `n_points` points may touch. If there was too little room, current lists are lost."""
        self._points = n_points
        if n_points > self._n_points_reserved:
            self._make_room(
                n_points if self._n_points_reserved < 1 else max(n_points, 3 * self._n_points_reserved // 2)
            )

    def _make_room(self, n_points: int) -> None:
        self._n_points_reserved = n_points
        rooms = np.minimum(self.sizes, self._corners * (n_points + 1)) if self.listed else np.zeros(0, np.int64)
        ends = np.cumsum(rooms)
        size = int(ends[-1]) if len(ends) else 0
        if size > 2**31 - 1:
            raise ConfigError(
                f"a batch of {n_points:,} points may touch more than 2^31 entries of a grid on the CPU; use a smaller batch"
            )
        self.begins = ends - rooms
        self.touched = torch.empty(size, dtype=torch.int32, device=self._torch_device)
        self.values = torch.empty(size, self.layout.n_features, device=self._torch_device)
        self._lists.begins = wp.array(self.begins, dtype=wp.int32, device=self._device)
        self._lists.slots, self._lists.touched, self._lists.counts = (
            wp.from_torch(tensor) for tensor in (self.slots, self.touched, self.counts)
        )
        slot_bits = max(1, int(rooms.max(initial=1) - 1).bit_length())
        if slot_bits != self.slot_bits:
            self.slot_bits = slot_bits
            self.slots.zero_()
            self.stamp = min(self.stamp, 1)

    def lists(self) -> TouchedLists:
        """The lists as kernels take them."""
        self._lists.stamp, self._lists.slot_bits = self.stamp, self.slot_bits
        return self._lists

    def begin_step(self) -> None:
        """Empty the lists."""
        if self.stamp == 2 ** (32 - self.slot_bits) - 1:
            self.slots.zero_()
            self.stamp = 0
        self.stamp += 1
        self.counts.zero_()

    def stretches(self) -> Iterator[Stretch]:
        """The lists that are not empty."""
        whole = self._points >= self._level_entries // self._corners
        rows = zip(
            self.begins.tolist(), self.first.tolist(), self.sizes.tolist(), self.counts.tolist(), whole, strict=True
        )
        for begin, first, size, count, all_listed in rows:
            if not count:
                continue
            order = ListOrder.SORTED if count > size // SORTED_FROM else ListOrder.TOUCHED
            yield Stretch(begin, begin + count, ListOrder.WHOLE if all_listed else order, first)

    def listed_stretches(self) -> wp.array[ListedStretch]:
        """The lists cut into stretches of at most ENTRIES_PER_ITEM entries, one per item of a kernel."""
        rows = []
        for stretch in self.stretches():
            for begin in range(stretch.begin, stretch.end, ENTRIES_PER_ITEM):
                end = min(begin + ENTRIES_PER_ITEM, stretch.end)
                rows.append((begin, end, stretch.order, stretch.first + begin - stretch.begin, stretch.begin))
        return structs_as_warp(rows, ListedStretch, self._device)

    def entries(self, stretch: Stretch) -> Tensor:
        """The entries of a list, int64 [n], counted from the grid's first."""
        if stretch.order is ListOrder.WHOLE:
            return torch.arange(stretch.first, stretch.first + stretch.end - stretch.begin, device=self._torch_device)
        return self.touched[stretch.begin : stretch.end].long()

    def sums(self, stretch: Stretch) -> Tensor:
        """The gradients of the entries of a list, float32 [n, features]."""
        if stretch.order is not ListOrder.SORTED:
            return self.values[stretch.begin : stretch.end]
        slots = self.slots[self.entries(stretch)].long() & ((1 << self.slot_bits) - 1)
        return self.values[stretch.begin + slots]
