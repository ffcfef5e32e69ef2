"""A clock that only the test moves, a world that takes a chosen time, and a listener that keeps what it receives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nrc_tracer.errors import NrcError
from nrc_tracer.live.picture import Picture
from nrc_tracer.live.session import Session
from nrc_tracer.live.view import PictureMode, View
from nrc_tracer.scene.model import Perspective


class Clock:
    """A clock that stands still until it is told to move [s]."""

    def __init__(self):
        self.time = 100.0

    def __call__(self):
        return self.time

    def wait(self, seconds):
        self.time += seconds


def view(fov=45.0, width=640, height=360, **options):
    """A view; views of another `fov` have moved."""
    return View(Perspective(fov=fov), width, height, **options)


@dataclass(frozen=True)
class FakeEdit:
    target: str
    value: object = None


@dataclass
class FakeWorld:
    """Draws black pictures, in a time proportional to the number of pixels, and notes what it was asked for."""

    clock: Clock
    seconds_per_pixel: float = 1e-6
    trains: bool = False
    drawn: list = field(default_factory=list)
    edits: list = field(default_factory=list)
    forgotten: list = field(default_factory=list)
    samples: dict = field(default_factory=dict)
    trained: float = 0.0
    error: Exception | None = None
    during = None  # called in the middle of a frame

    start = view()
    modes = (PictureMode.OFF,)
    layers = ()

    @property
    def is_training(self):
        return self.trains

    def draw(self, client, view, budget):
        self.drawn.append((client, view, budget))
        self.clock.wait(budget.width * budget.height * self.seconds_per_pixel)
        if self.during is not None:
            self.during()
        if self.error is not None:
            raise self.error
        if budget.interrupted():
            return None
        if not budget.is_moving:
            self.samples[client] = self.samples.get(client, 0) + 1
        pixels = np.zeros((budget.height, budget.width, 3), np.uint8)
        return Picture(pixels, view, samples=self.samples.get(client, 1), is_final=not budget.is_moving)

    def advance(self, seconds):
        self.clock.wait(seconds)
        self.trained += seconds

    def edit(self, edit):
        if edit.value == "bad":
            raise NrcError("a bad edit")
        self.edits.append(edit)

    def forget(self, client):
        self.forgotten.append(client)


class Screen:
    """A listener that acknowledges pictures at once, except those of clients in `slow`."""

    def __init__(self):
        self.session = None
        self.pictures, self.messages, self.slow = [], [], set()

    def show(self, client, number, picture):
        self.pictures.append((client, number, picture))
        if client not in self.slow:
            self.session.acknowledge(client, number)

    def fail(self, client, message):
        self.messages.append((client, message))


def make_session(**options):
    """A session with a fake clock, world and listener, whose caller steps it."""
    clock, screen = Clock(), Screen()
    world = FakeWorld(clock)
    session = screen.session = Session(world, screen, now=clock, **options)
    return session, world, screen, clock
