"""Whose turn it is: the clients of a session, what waits to be called, and how time is shared between drawing and training."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from nrc_tracer.live.picture import Picture
from nrc_tracer.live.resolution import MovingSize
from nrc_tracer.live.view import View
from nrc_tracer.live.world import World

Result = TypeVar("Result")


@dataclass
class Client:
    """What a session knows about a client.

    Attributes:
        view: What it wants to see.
        size: Chooses the size of its moving frames.
        changed: Time of the last move [s].
        turn: Turn in which a frame was drawn for it last.
        under_way: Number of the picture that it has not acknowledged yet.
        rested: Time when frames at full size began to accumulate [s].
        samples: Samples per pixel at full size so far.
        is_complete: Whether it needs no more frames until something changes.
        generation: Number of times that its picture has begun anew.
        shown: The picture that it received last since then.
    """

    view: View
    size: MovingSize
    changed: float
    turn: int = 0
    under_way: int | None = None
    rested: float | None = None
    samples: int = 0
    is_complete: bool = False
    generation: int = 0
    shown: Picture | None = None

    def begin(self, changed: float) -> None:
        """Begin anew after a change of the view or of the world, with the time of the last move [s]."""
        if changed != self.changed:
            self.changed, self.rested, self.samples = changed, None, 0
        self.is_complete, self.shown = False, None
        self.generation += 1


@dataclass
class Shares:
    """Times spent on drawing and on training [s] since the goal of drawing's share last changed."""

    share: float = 0.0
    drawing: float = 0.0
    training: float = 0.0

    def training_is_due(self, share: float) -> bool:
        """Whether drawing has had the fraction `share` of the time."""
        if share != self.share:
            self.share, self.drawing, self.training = share, 0.0, 0.0
        return self.drawing > 0.0 and self.drawing >= share * (self.drawing + self.training)


class Task:
    """A function that waits to be called with the world, its future, and whether pictures are drawn again after it."""

    def __init__(self, function: Callable[[World], Result], future: Future[Result], redraws: bool) -> None:
        self._function, self.future, self.redraws = function, future, redraws

    def run(self, world: World) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._function(world))
        except Exception as error:
            self.future.set_exception(error)
