"""Lists of the grid entries that a training step touches, as kernels see them."""

import enum

import warp as wp


class ListOrder(enum.IntEnum):
    """The order of the entries in a region's list, which also tells where their sums are."""

    TOUCHED = 0
    """Entries have the order in which they were first touched; each sum has the place of its entry in the list."""

    SORTED = 1
    """Entries are sorted by index; the slot of an entry gives the place of its sum."""

    WHOLE = 2
    """The list has all entries of the region, sorted by index, and is not written; sums have the same order."""


@wp.struct
class TouchedLists:
    """The lists of all regions of a grid; see `Regions`.

    Attributes:
        begins: Where the list of each region begins in `touched`, and its sums among all sums.
        stamp: Number of the step, at least 1; 0 where nothing is listed and sums have room for every entry.
        slot_bits: The lowest bits of a slot, which hold the place of a sum, counted from the region's begin.
        slots: Per entry, the stamp of the last step that touched it, above the place of its sum.
        touched: The listed entries, counted from the grid's first.
        counts: Number of listed entries per region.
    """

    begins: wp.array[int]
    stamp: int
    slot_bits: int
    slots: wp.array[int]
    touched: wp.array[int]
    counts: wp.array[int]


@wp.struct
class ListedStretch:
    """A stretch of one region's list, for one item of a kernel.

    Attributes:
        begin: Its first place in the lists.
        end: One past its last place.
        order: A `ListOrder`.
        first: The entry at the place `begin` if the order is `WHOLE`.
        sums: The place of the region's first sum if the order is `SORTED`.
    """

    begin: int
    end: int
    order: int
    first: int
    sums: int
