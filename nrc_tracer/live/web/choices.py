"""What a page lets its user choose for its pictures, apart from the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nrc_tracer.live.view import MAX_SIDE, PictureMode
from nrc_tracer.tracer.layers import CACHE_LAYERS

MODE_LABELS = {
    PictureMode.OFF: "off: path tracing",
    PictureMode.ON: "on: cache, corrected when still",
    PictureMode.RAW: "raw: paths end in the cache",
    PictureMode.UNBIASED: "unbiased: each sample corrected",
    PictureMode.VIEW: "view: the cache's predictions",
}

DENOISED = "denoised, "
"""Beginning of the labels of denoised pictures."""

DENOISED_MODES = (PictureMode.OFF, PictureMode.ON, PictureMode.RAW)
"""Modes that are offered denoised."""

KEPT = "kept picture"
"""The choice of a picture that the user has kept, for the second view."""

LAYER = "layer: "
"""Beginning of the labels of layers."""

NOTHING = "nothing"
"""The choice of no second view."""

RESOLUTIONS = {"full": 1.0, "half": 0.5, "quarter": 0.25}
"""Factors of a still picture's sides against the window's, by label."""


@dataclass(frozen=True)
class Shown:
    """What a view shows.

    Attributes:
        mode: How radiance is estimated.
        layer: Name of the layer that is shown instead; None for the picture.
        denoise: Whether noise is removed by Open Image Denoise.
    """

    mode: PictureMode
    layer: str | None = None
    denoise: bool = False


def shown_labels(modes: Sequence[PictureMode], layers: Sequence[str], *, denoised: bool = False) -> dict[str, Shown]:
    """All that a view may show, by label.

    Args:
        modes: The modes. Layers are those of the first one, except for layers of the cache.
        layers: The layers.
        denoised: Whether there are denoised pictures.
    """
    found = {MODE_LABELS[mode]: Shown(mode) for mode in modes}
    if denoised:
        found |= {f"{DENOISED}{MODE_LABELS[m]}": Shown(m, denoise=True) for m in modes if m in DENOISED_MODES}
    with_cache = next((mode for mode in modes if mode is not PictureMode.OFF), modes[0])
    for layer in layers:
        is_of_cache = layer in CACHE_LAYERS
        found[f"{LAYER}{layer.replace('_', ' ')}"] = Shown(with_cache if is_of_cache else modes[0], layer)
    return found


def film_size(window: tuple[int, int], factor: float, most_pixels: int) -> tuple[int, int]:
    """Width and height of a still picture [pixels].

    Args:
        window: Width and height of the page's canvas [pixels].
        factor: The chosen factor of both sides.
        most_pixels: Largest number of pixels.
    """
    width, height = max(window[0] * factor, 1.0), max(window[1] * factor, 1.0)
    shrink = min(1.0, (most_pixels / (width * height)) ** 0.5, MAX_SIDE / width, MAX_SIDE / height)
    return max(1, round(width * shrink)), max(1, round(height * shrink))
