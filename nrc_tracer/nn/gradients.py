"""Where gradients of parameters are summed up: a flat tensor or, for grids on the CPU, only room for the entries that get any.

A grid of 2^19 entries a level has twelve million parameters of which a step touches a few per cent. Lists let an optimizer go
over those alone, and their sums are kept side by side. Where, is in the *slot* of an entry, beside the *stamp* of the step that
put it there: an entry with an older stamp has nothing yet, so nothing has to be cleared between steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.encodings.grid_kernels import Region
from nrc_tracer.nn.encodings.grid_layout import GridLayout
from nrc_tracer.nn.touched_lists import TouchedLists


class Regions:
    """A grid's entries cut into stretches, each written by one thread, with a list of touched entries for each or without.

    Args:
        layout: The grid's tables.
        device: Where the arrays live.
        threads: Threads that share the work: with few levels to a thread, levels are cut. Sums do not depend on it.
        listed: Keep lists of touched entries (CPU only), with their sums: else gradients go to a tensor for all entries.

    Attributes:
        begins: Where each region's list begins in `touched`, and its sums in `values`, int64 [regions].
        slots: Of each entry, the stamp of the step that last touched it, and in the lowest `slot_bits` the place of its sum,
            counted from the region's begin, int32 [entries].
        touched: Entries, int32 [n].
        values: Sums, float32 [n, features].
        counts: Entries in each list, int32 [regions].
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
        """The first entry of each region, counted from the grid's first, and how many it has."""
        self.rows = wp.array(np.array(rows, dtype=Region.numpy_dtype()), dtype=Region, device=device)
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
        """Make room for the entries that so many points may touch. What is listed is lost if there was too little."""
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
            raise ConfigError(f"a batch of {n_points:,} points: a grid on the CPU sums up 2^31 touched entries at most")
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
            if count:
                in_order = count > size // 16 and not all_listed
                yield Stretch(begin, begin + count, first if all_listed else None, in_order)

    def entries(self, stretch: Stretch) -> Tensor:
        """The entries of a list, int64 [n], counted from the grid's first."""
        if stretch.first is not None:
            return torch.arange(stretch.first, stretch.first + stretch.end - stretch.begin, device=self._torch_device)
        return self.touched[stretch.begin : stretch.end].long()

    def sums(self, stretch: Stretch) -> Tensor:
        """The gradients of the entries of a list, float32 [n, features]."""
        if not stretch.in_order:
            return self.values[stretch.begin : stretch.end]
        slots = self.slots[self.entries(stretch)].long() & ((1 << self.slot_bits) - 1)
        return self.values[stretch.begin + slots]


@dataclass(frozen=True)
class Stretch:
    """The list of one region in a step.

    Attributes:
        begin, end: Its place in `Regions.touched` and the place of its sums in `Regions.values`.
        first: Where it has all entries of the region, the first of them: the list itself is not written then. Else None.
        in_order: Whether the list was put in order after the sums were made: an entry's slot tells where its sum is.
    """

    begin: int
    end: int
    first: int | None
    in_order: bool


class GradientSink:
    """Where one encoding adds the gradient of its parameters.

    Attributes:
        values: float32 [n_params of the encoding].
        deterministic: Whether sums must not depend on the order in which a GPU makes them: they are then made of integers, which
            takes longer. Where torch is asked for deterministic algorithms, this is so unless said otherwise. Sums on the
            CPU are always made in one order.
    """

    def __init__(
        self,
        values: Tensor,
        regions: dict[GridLayout, Regions] | None = None,
        *,
        deterministic: bool | None = None,
    ) -> None:
        self.values = values
        self._regions = {} if regions is None else regions
        if deterministic is None:
            deterministic = values.is_cuda and torch.are_deterministic_algorithms_enabled()
        self.deterministic = deterministic

    def part(self, own: slice) -> GradientSink:
        """The sink of an encoding inside a composite that has the parameters `own`."""
        return GradientSink(self.values[own], self._regions, deterministic=self.deterministic)

    def regions(self, layout: GridLayout, launcher: Launcher) -> Regions:
        """The regions of a grid; made when first asked for."""
        if layout not in self._regions:
            self._regions[layout] = Regions(layout, launcher.device, launcher.threads, listed=False)
        return self._regions[layout]


@dataclass(frozen=True)
class ListedGrid:
    """A grid whose touched entries are listed.

    Attributes:
        begin: Its first parameter in the flat vector.
        regions: Its regions with their lists.
    """

    begin: int
    regions: Regions

    @property
    def layout(self) -> GridLayout:
        """The grid's tables."""
        return self.regions.layout

    @property
    def end(self) -> int:
        """One past its last parameter in the flat vector."""
        return self.begin + self.layout.n_params


class Gradient:
    """The gradient of all parameters of a model, in the order of its flat parameters.

    Where `listed` is not None, the gradients of those grids are in their lists, **whatever `flat` holds**; entries that are not
    listed have gradient zero.

    Attributes:
        flat: float32 [n_params].
        n_matrix_params: Parameters of the network, the first ones.
        listed: The grids with their lists, or None: every value of `flat` counts.
    """

    def __init__(self, flat: Tensor, n_matrix_params: int, listed: list[ListedGrid] | None = None) -> None:
        self.flat = flat
        self.n_matrix_params = n_matrix_params
        self.listed = listed

    def dense(self) -> Tensor:
        """The gradient with zeros where nothing was touched: a new tensor if grids are listed."""
        if self.listed is None:
            return self.flat
        result = torch.zeros_like(self.flat)
        result[: self.n_matrix_params] = self.flat[: self.n_matrix_params]
        for grid in self.listed:
            target = result[grid.begin : grid.end].view(-1, grid.layout.n_features)
            for stretch in grid.regions.stretches():
                target[grid.regions.entries(stretch)] = grid.regions.sums(stretch)
        return result
