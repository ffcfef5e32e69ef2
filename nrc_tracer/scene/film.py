"""The size of the image: what sizes are possible, and how they are changed."""

from __future__ import annotations

import msgspec

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import Film

MAX_SIDE = 65536
MAX_PIXELS = 2**28


def check_film(film: Film) -> None:
    """Make sure that the film has pixels, not too many, and that a crop window lies inside; `SceneError` if not."""
    for name in ("width", "height"):
        if not 1 <= getattr(film, name) <= MAX_SIDE:
            raise SceneError(f"$.film.{name}: must lie in 1 to {MAX_SIDE}, not {getattr(film, name)}")
    if film.crop is None:
        width, height = film.width, film.height
    else:
        x, y, width, height = film.crop
        inside = x >= 0 and y >= 0 and x + width <= film.width and y + height <= film.height
        if width < 1 or height < 1 or not inside:
            size = f"{film.width} x {film.height}"
            raise SceneError(f"$.film.crop: {list(film.crop)} (x, y, width, height) is not inside the {size} film")
    if width * height > MAX_PIXELS:
        raise SceneError(f"$.film: {width} x {height} pixels are more than the {MAX_PIXELS:,} that are accepted")


def resize_film(film: Film, width: int | None = None, height: int | None = None) -> Film:
    """Return the film in another size; if only one side is given, the other keeps the aspect ratio.

    Raises:
        SceneError: The size is impossible, or the film has a crop window, which a new size would leave without meaning.
    """
    if width is None and height is None:
        return film
    if width is None:
        width = max(1, round(film.width * height / film.height))
    if height is None:
        height = max(1, round(film.height * width / film.width))
    if film.crop is not None and (width, height) != (film.width, film.height):
        raise SceneError(
            f"the film has a crop window {list(film.crop)}, so its size ({film.width} x {film.height}) "
            "cannot be changed; change or remove the crop in the scene file"
        )
    resized = msgspec.structs.replace(film, width=width, height=height)
    check_film(resized)
    return resized
