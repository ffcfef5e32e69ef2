"""Nodes of a cluster inside the test: they trace for real, and fail as the test wishes."""

from __future__ import annotations

import pickle
import random
from collections import deque

from nrc_tracer.cluster.dispatch import Delivered, Failed, Joined, Left
from nrc_tracer.cluster.node import PathResult
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.cached_strips import CachedStripTracer
from nrc_tracer.tracer.strips import strips_of


class Clock:
    """A clock that the test moves [s]."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class FakeNodes:
    """Nodes whose queues are worked off one event at a time, in a random order.

    Args:
        renderer: Traces the units.
        names: The nodes at the beginning.
        seed: Seed of the order.
        clock: Moved by each event.
        later: Number of events after which more nodes join.
        dies: Probability that an event is the death of a node, whose units are lost; it joins again.
        fails: Probability that a unit fails.
        twice: Probability that a unit is delivered twice.
        slow: Names of nodes that deliver only when nothing else can happen.
    """

    expects_more = False

    def __init__(
        self, renderer: Renderer, names, *, seed=0, clock=None, later=None, dies=0.0, fails=0.0, twice=0.0, slow=()
    ):
        self._tracer = renderer.strip_tracer()
        self._strips = strips_of(renderer.width, renderer.height)
        self._chance, self.clock = random.Random(seed), clock or Clock()
        self._queues = {name: deque() for name in names}
        self._events = deque(Joined(name) for name in names)
        self._later, self._dies, self._fails, self._twice, self._slow = later or {}, dies, fails, twice, slow
        self.count, self.deaths, self.given = 0, 0, []
        self._round = None

    def begin_round(self, number):
        """As `RayNodes` does; all nodes share one copy of the cache."""
        self._round = None if number is None else CachedStripTracer(self._tracer, pickle.loads(pickle.dumps(number)))

    def begin_image(self, seed):
        """As `RayPathNodes` does: units that are out are forgotten."""
        for queue in self._queues.values():
            queue.clear()
        self._events = deque(event for event in self._events if not isinstance(event, Delivered | Failed))
        self._tracer.inputs.set_seed(seed)

    def give(self, node, unit):
        self._queues[node].append(unit)
        self.given.append((node, unit))

    def events(self, timeout):
        self.count += 1
        self.clock.time += 1.0
        for name in self._later.pop(self.count, ()):
            self._queues[name] = deque()
            self._events.append(Joined(name))
        if not self._events:
            self._work()
        return [self._events.popleft()] if self._events else []

    def _work(self):
        busy = [name for name, queue in self._queues.items() if queue]
        quick = [name for name in busy if name not in self._slow]
        if not busy or (not quick and self._chance.random() < 0.9):
            return  # the slow ones are still at it
        node = self._chance.choice(quick or busy)
        event = self._chance.random()
        unit = self._queues[node].popleft()
        if event < self._dies:
            self._queues[node].clear()
            self.deaths += 1
            self._events += [Left(node, "it died"), Joined(node)]
        elif event < self._dies + self._fails:
            self._events.append(Failed(node, unit, "bad luck"))
        else:
            result = self.work(unit)
            copies = 2 if self._chance.random() < self._twice else 1
            self._events += [Delivered(node, unit, result)] * copies

    def work(self, unit):
        """Trace a unit."""
        arguments = (self._strips[unit.strip], unit.first, unit.samples)
        if self._round is None:
            return PathResult(self._tracer.trace(*arguments), None)
        return PathResult(*self._round.trace(*arguments))
