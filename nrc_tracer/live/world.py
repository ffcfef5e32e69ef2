"""What a session draws: the interface between sessions and scenes, images and tasks in training."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nrc_tracer.live.picture import Picture
from nrc_tracer.live.view import PictureMode, View


def never() -> bool:
    """Return False: nothing interrupts the frame."""
    return False


@dataclass(frozen=True)
class Budget:
    """How much a frame may cost.

    Attributes:
        width, height: Size to draw at [pixels]; below the view's size while the camera moves.
        is_moving: Whether the camera moves. Then the frame is drawn as fast as possible, and may use what earlier frames found.
        seconds: Time to aim at [s].
        most_samples: Samples per pixel after which a still picture is complete; None for ever.
        interrupted: Whether the frame has become useless because a client's view has changed meanwhile. Asked between passes.
    """

    width: int
    height: int
    is_moving: bool = False
    seconds: float = 0.1
    most_samples: int | None = None
    interrupted: Callable[[], bool] = never


class Edit(Protocol):
    """A change of a world. Before it is made, a later edit of the same target replaces it."""

    @property
    def target(self) -> Hashable:
        """What it changes."""


class World(Protocol):
    """What a session draws. All methods are called on the session's thread."""

    @property
    def start(self) -> View:
        """The view of a client that has not chosen one."""

    @property
    def modes(self) -> Sequence[PictureMode]:
        """Modes that pictures can be drawn in."""

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
        """Release what is kept for a client. A client that is not known is ignored."""
