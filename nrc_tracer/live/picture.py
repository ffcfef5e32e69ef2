"""What a client receives: a picture, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nrc_tracer.live.view import View


class Statistic(NamedTuple):
    """A measured number.

    Attributes:
        value: The number; None if it is not known yet.
        unit: Its unit, such as `%` or `ms`; empty for plain numbers.
    """

    value: float | None
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to show.

    Attributes:
        pixels: sRGB values, uint8 [height, width, 3]; while the camera moves the size may be below the view's.
        view: What it shows.
        samples: Samples per pixel.
        is_final: Whether it is drawn at full size from this view's own samples alone, and worth sending without loss.
        is_complete: Whether there is nothing to add: the session draws it again only after a change.
        stage_times: Time spent on each stage of the frame [ms], by name, in order.
        statistics: Measured numbers by name.
    """

    pixels: np.ndarray
    view: View
    samples: int = 1
    is_final: bool = False
    is_complete: bool = False
    stage_times: Mapping[str, float] = field(default_factory=dict)
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
