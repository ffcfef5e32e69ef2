"""The size of the image: its limits, and how to change it."""

from __future__ import annotations

import operator

import msgspec

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import Film

MAX_SIDE = 65536
"""Largest width and height [pixels]."""
MAX_PIXELS = 2**28
"""Largest number of pixels, of the crop window if there is one."""


def check_film(film: Film) -> None:
    """Check the size of the film and that its crop window lies inside. Raises `SceneError`."""
    for name in ("width", "height"):
        if not 1 <= getattr(film, name) <= MAX_SIDE:
            raise SceneError(f"$.film.{name}: must lie in 1 to {MAX_SIDE}, not {getattr(film, name)}")
    if film.crop is None:
        width, height = int(film.width), int(film.height)
    else:
        x, y, width, height = map(int, film.crop)  # NumPy's integers could overflow below
        inside = x >= 0 and y >= 0 and x + width <= film.width and y + height <= film.height
        if width < 1 or height < 1 or not inside:
            size = f"{film.width} x {film.height}"
            raise SceneError(f"$.film.crop: {list(film.crop)} (x, y, width, height) is not inside the {size} film")
    if width * height > MAX_PIXELS:
        raise SceneError(f"$.film: {width} x {height} pixels are more than the {MAX_PIXELS:,} that are accepted")


def resize_film(film: Film, width: int | None = None, height: int | None = None) -> Film:
    """Return the film in another size; if only one side is given, the other keeps the aspect ratio.

    Args:
        film: The film.
        width: New width [pixels], any integer type.
        height: New height [pixels], any integer type.

    Raises:
        SceneError: The size is out of range, or the film has a crop window, whose meaning a new size would change.
    """
    width = None if width is None else operator.index(width)
    height = None if height is None else operator.index(height)
    if width is None:
        if height is None:
            return film
        width = max(1, round(film.width * height / film.height))
    elif height is None:
        height = max(1, round(film.height * width / film.width))
    if film.crop is not None and (width, height) != (film.width, film.height):
        raise SceneError(
            f"the film has a crop window {list(film.crop)}, so its size ({film.width} x {film.height}) "
            "cannot be changed; change or remove the crop window in the scene file"
        )
    resized = msgspec.structs.replace(film, width=width, height=height)
    check_film(resized)
    return resized
