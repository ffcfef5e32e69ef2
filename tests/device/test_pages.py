"""Large memory pages for tensors."""

import mmap
import sys
from pathlib import Path

import pytest
import torch

from nrc_tracer.device.pages import PAGE, prefer_large_pages


def advised(address):
    """Whether the mapping that contains an address is advised to use large pages."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            low, high = (int(part, 16) for part in words[0].split("-"))
            inside = low <= address < high
        elif inside and words[0] == "VmFlags:":
            return "hg" in words
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own list of mappings is read")
def test_only_large_tensors_are_advised():
    """The whole pages inside a large tensor are advised, and its values do not change."""
    # A separate mapping, because the allocator may return memory that was advised earlier
    memory = mmap.mmap(-1, 4 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    large = torch.frombuffer(memory, dtype=torch.uint8)
    assert not advised(large.data_ptr() + 2 * PAGE)
    assert prefer_large_pages(large) is large
    assert advised(large.data_ptr() + 2 * PAGE)
    assert not large.any()
    small = torch.zeros(PAGE // 2, dtype=torch.uint8)
    before = advised(small.data_ptr())
    prefer_large_pages(small)
    assert advised(small.data_ptr()) == before
    assert prefer_large_pages(torch.zeros(0)).numel() == 0
