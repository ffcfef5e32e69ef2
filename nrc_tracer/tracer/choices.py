"""Checks of a user's choices: names of kinds, integers, and what intersects triangles."""

from __future__ import annotations

import enum
import operator
from typing import SupportsIndex, TypeVar

from nrc_tracer.errors import DeviceError, NrcError, nearest
from nrc_tracer.tracer.accel import embree
from nrc_tracer.tracer.vocabulary import Accel

Kind = TypeVar("Kind", bound=enum.Enum)


def known_kind(what: str, name: str, kinds: type[Kind]) -> Kind:
    """The member of `kinds` whose name in lower case is `name`. Raises `NrcError`, in which `what` names the kind of thing."""
    names = {kind.name.lower(): kind for kind in kinds}
    if name not in names:
        raise NrcError(f'there is no {what} "{name}"{nearest(name, names)}')
    return names[name]


def whole_number(name: str, value: SupportsIndex, *, least: int | None = None) -> int:
    """An integer given by the user, of Python or NumPy, as an `int`. Raises `NrcError` if it is not one, or is below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or (least is not None and number < least):
        limit = "" if least is None else f" of at least {least}"
        raise NrcError(f"{name}: expected a whole number{limit}, got {value!r:.40}")
    return number


def find_accel(name: str | None, device: str) -> tuple[Accel, str | None]:
    """Choose what intersects triangles on a device.

    Args:
        name: The user's choice; None for Embree where it is available.
        device: Warp device.

    Returns:
        The choice; and why it is not Embree, if Embree is not available and nothing was chosen.

    Raises:
        DeviceError: The choice is unknown or not available.
    """
    if name is not None and name not in [a.value for a in Accel]:
        raise DeviceError(f'there is no acceleration structure "{name}"{nearest(name, [a.value for a in Accel])}')
    if device != "cpu":
        if name == Accel.EMBREE.value:
            raise DeviceError(f"Embree runs on the CPU only; on {device} use --accel warp")
        return Accel.WARP, None
    if name == Accel.WARP.value:
        return Accel.WARP, None
    try:
        embree.load()
    except DeviceError as error:
        if name is not None:
            raise
        return Accel.WARP, f"{error}; Warp's BVH is used instead, which is slower"
    return Accel.EMBREE, None
