"""What a client wants to see."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from nrc_tracer.errors import NrcError, nearest
from nrc_tracer.imaging.tonemap import TONES, Tone
from nrc_tracer.scene.model import Camera

MAX_SIDE = 8192
"""Largest width and height of a view [pixels]."""

MAX_STOPS = 30.0
"""Largest magnitude of an exposure [stops]."""


class PictureMode(str, enum.Enum):
    """How the radiance of a picture is estimated. Worlds without a radiance cache know `off` only."""

    OFF = "off"  # path tracing
    ON = "on"  # paths end in the radiance cache, and a still image is corrected by those that continue
    RAW = "raw"  # paths end in the radiance cache
    UNBIASED = (
        "unbiased"  # some paths continue beyond their end in the cache, which corrects the prediction in each sample
    )
    VIEW = "view"  # the cache's predictions at the first surface

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class View:
    """What a client wants to see. Views are compared by value.

    Attributes:
        camera: The camera, as scenes describe it.
        width, height: Size of the picture when the camera is still [pixels].
        mode: How radiance is estimated.
        exposure: Exposure [stops].
        tone: Tone operator.
        layer: Name of the layer to show instead of the picture, one of the world's `layers`.
        denoise: Whether noise is removed from the picture by Open Image Denoise.

    Raises:
        NrcError: The size, the exposure or the tone operator is out of range or unknown.
    """

    camera: Camera
    width: int
    height: int
    mode: PictureMode = PictureMode.OFF
    exposure: float = 0.0
    tone: Tone = "srgb"
    layer: str | None = None
    denoise: bool = False

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if not 1 <= side <= MAX_SIDE:
                raise NrcError(f"the {name} of a view must lie in 1 to {MAX_SIDE} pixels, not {side}")
        if not (math.isfinite(self.exposure) and abs(self.exposure) <= MAX_STOPS):
            raise NrcError(f"the exposure must lie in -{MAX_STOPS:g} to {MAX_STOPS:g} stops, not {self.exposure}")
        if self.tone not in TONES:
            raise NrcError(f'there is no tone operator "{self.tone}"{nearest(self.tone, TONES)}')

    def moves_from(self, other: View) -> bool:
        """Whether the camera, the size or the mode differs, so that samples of the other view are of no use for this one."""
        mine, others = ((view.camera, view.width, view.height, view.mode) for view in (self, other))
        return mine != others
