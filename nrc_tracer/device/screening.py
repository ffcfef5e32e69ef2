"""A gate that GPUs pass before work runs on them. A program sets it; without one, every GPU that is found is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Screen = Callable[[str, bool], str]
"""Given the name `cuda:N` of a GPU, and whether it was asked for by name, returns the name of the device to use."""

_screens: list[Screen] = []


@contextmanager
def screening(screen: Screen) -> Iterator[None]:
    """Let `screen` decide about every GPU that is found inside the `with` block."""
    _screens.append(screen)
    try:
        yield
    finally:
        _screens.remove(screen)


def screened(device: str, *, by_name: bool) -> str:
    """The device to use in place of a device that was found.

    Args:
        device: `cpu` or `cuda:N`.
        by_name: Whether the caller asked for this device; if not, it is the default.
    """
    if device != "cpu" and _screens:
        return _screens[-1](device, by_name)
    return device
