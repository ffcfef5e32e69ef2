"""Edits of fitted models and of tasks in training: what all pages of a viewer share."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

from nrc_tracer.errors import NrcError

Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Pause:
    """Interrupt the training, or continue it."""

    is_paused: bool

    @property
    def target(self) -> Hashable:
        """The training."""
        return "training"


@dataclass(frozen=True)
class ChoosePhotograph:
    """Choose the photograph that the layer `photograph` shows, by its number, counted from 0."""

    index: int

    @property
    def target(self) -> Hashable:
        """The choice."""
        return "photograph"


@dataclass(frozen=True)
class SetCrop:
    """Show only what lies in a box.

    Attributes:
        low, high: Its corners in unit-cube space.

    Raises:
        NrcError: A number is not finite, or the box is empty.
    """

    low: Corner
    high: Corner

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.low, *self.high)):
            raise NrcError("a crop box needs six finite numbers")
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise NrcError("a crop box must be higher than low along each axis")

    @property
    def target(self) -> Hashable:
        """The box."""
        return "crop"


@dataclass(frozen=True)
class SetSlice:
    """Place the plane of the layer `slice`.

    Attributes:
        axis: Axis that it is perpendicular to: 0 for x, 1 for y, 2 for z.
        place: Where it crosses the shape's box along this axis, from 0 to 1.

    Raises:
        NrcError: A number is out of range.
    """

    axis: int
    place: float

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2) or not 0.0 <= self.place <= 1.0:
            raise NrcError(
                f"a slice needs an axis from 0 to 2 and a place from 0 to 1, not {self.axis} and {self.place}"
            )

    @property
    def target(self) -> Hashable:
        """The plane."""
        return "slice"
