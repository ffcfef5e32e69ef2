"""Choosing one of a scene's cameras."""

from __future__ import annotations

from nrc_tracer.errors import SceneError, nearest
from nrc_tracer.scene.model import Camera, SceneDescription


def choose_camera(description: SceneDescription, which: str | int | Camera | None = None) -> Camera:
    """Return the camera that is meant.

    Args:
        description: The scene.
        which: The name of one of the scene's `cameras`, its number among them (from 0, as a number or in digits), a camera,
            or None for the scene's own.

    Raises:
        SceneError: There is no such camera; the message has those that there are.
    """
    if which is None:
        return description.camera
    if not isinstance(which, str | int):
        return which
    cameras = description.cameras or {"camera": description.camera}
    if isinstance(which, str) and which in cameras:
        return cameras[which]
    try:
        index = int(which)
    except ValueError:
        raise SceneError(f'there is no camera "{which}"{_hint(which, list(cameras))}') from None
    if not 0 <= index < len(cameras):
        known = ", ".join(f'{number} "{name}"' for number, name in enumerate(cameras))
        raise SceneError(f"there is no camera {index} (known: {known})")
    return list(cameras.values())[index]


def _hint(name: str, known: list[str]) -> str:
    """The nearest name, and all of them if they are few."""
    hint = nearest(name, known)
    if "did you mean" in hint and 1 < len(known) <= 8:
        return f"{hint[:-1]} known: {', '.join(sorted(known))})"
    return hint
