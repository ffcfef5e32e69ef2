"""What a user's words for devices, acceleration structures and the like stand for."""

from __future__ import annotations

import enum

from nrc_tracer.errors import DeviceError, NrcError, nearest
from nrc_tracer.tracer.accel import embree
from nrc_tracer.tracer.vocabulary import Accel


def known_name(what: str, name: str, kinds: type[enum.Enum]) -> str:
    """The member of `kinds` that a user's word stands for, `what` being what it is called. Raises `NrcError`."""
    names = [kind.name.lower() for kind in kinds]
    if name not in names:
        raise NrcError(f'there is no {what} "{name}"{nearest(name, names)}')
    return name.upper()


def find_accel(name: str | None, device: str) -> tuple[Accel, str | None]:
    """What intersects triangles on a device, and why it is not Embree where nobody asked for another. Raises `DeviceError`."""
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
