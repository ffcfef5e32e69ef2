"""Choosing one of a scene's cameras."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene.model import Camera, SceneDescription


def choose_camera(description: SceneDescription, which: str | SupportsIndex | Camera | None = None) -> Camera:
    """Return the chosen camera.

    Args:
        description: The scene.
        which: The name of one of the scene's `cameras`, or its index (from 0, an integer of any type or its digits), or a
            camera, which is returned as it is. None is the scene's `camera`.

    Raises:
        SceneError: There is no such camera; the message lists those of the scene.
    """
    if which is None:
        return description.camera
    if isinstance(which, Camera):
        return which
    cameras = description.cameras or {"camera": description.camera}
    if isinstance(which, str) and which in cameras:
        return cameras[which]
    try:
        index = int(which) if isinstance(which, str) else operator.index(which)
    except ValueError:
        raise SceneError(f'there is no camera "{which}"{_hint(str(which), list(cameras))}') from None
    if not 0 <= index < len(cameras):
        known = ", ".join(f'{number} "{name}"' for number, name in enumerate(cameras))
        raise SceneError(f"there is no camera {index} (known: {known})")
    return list(cameras.values())[index]


def _hint(name: str, known: list[str]) -> str:
    """Return the nearest name, and all names if they are few."""
    hint = nearest(name, known)
    if "did you mean" in hint and 1 < len(known) <= 8:
        return f"{hint[:-1]} known: {', '.join(sorted(known))})"
    return hint
