"""What a session draws: the interface between sessions and scenes, images and tasks in training."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nrc_tracer.live.picture import Picture
from nrc_tracer.live.view import PictureMode, View


def never() -> bool:
    """Return False: nothing interrupts the frame."""
    return False


@dataclass(frozen=True)
class Budget:
    """How large a frame is, and how long it may take.

    Attributes:
        width, height: Size to draw at [pixels]; below the view's size while the camera moves.
        is_moving: Whether the camera moves. Such a frame should be fast, and may be averaged with earlier frames.
        seconds: Time that the frame should take [s].
        most_samples: Samples per pixel after which a still picture is complete; None if it is never complete.
        interrupted: Returns whether the frame is no longer needed, because a client's view has changed. Called between passes.
    """

    width: int
    height: int
    is_moving: bool = False
    seconds: float = 0.1
    most_samples: int | None = None
    interrupted: Callable[[], bool] = never


class Edit(Protocol):
    """A change of a world. A later edit of the same target replaces an edit that has not been made yet."""

    @property
    def target(self) -> Hashable:
        """The part of the world that changes."""


class World(Protocol):
    """What a session draws. All methods are called on the session's thread."""

    @property
    def start(self) -> View:
        """The view of a client that has not chosen one."""

    @property
    def modes(self) -> Sequence[PictureMode]:
        """The modes in which pictures can be drawn."""

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers that a view may show."""

    @property
    def is_training(self) -> bool:
        """Whether `advance` has work to do."""

    def draw(self, client: str, view: View, budget: Budget) -> Picture | None:
        """Draw a frame for a client; None if the frame was interrupted.

        While the view and the world stay the same, and the camera does not move, frames of a client accumulate.
        """

    def advance(self, seconds: float) -> None:
        """Train for about this long [s]."""

    def edit(self, edit: Edit) -> None:
        """Change the world. Later frames of all clients show the change.

        Raises:
            NrcError: The change is unknown or impossible; nothing has changed.
        """

    def forget(self, client: str) -> None:
        """Release what is kept for a client. Unknown clients are ignored."""


@runtime_checkable
class Learning(Protocol):
    """A world whose training changes what its layers show. Its method is called on the session's thread."""

    def learns(self, layer: str | None) -> bool:
        """Whether training changes what a layer shows."""


@runtime_checkable
class Pickable(Protocol):
    """A world with surfaces. Its method is called on the session's thread."""

    def point_at(self, view: View, x: float, y: float) -> tuple[float, float, float] | None:
        """The surface point that a view shows at a place of its picture, in world space; None if it shows none there.

        Args:
            view: The view.
            x, y: The place, as fractions of the picture's width and height from its upper left corner.
        """
