"""Giving units of work to the nodes of a cluster, taking their results, and coping with nodes that fail."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from nrc_tracer.cluster.ledger import Ledger, Unit
from nrc_tracer.errors import ClusterError

DEPTH = 2
"""Number of units on a node at once: one in work, and one that waits for it."""

PATIENCE = 60.0
"""Time for which the driver waits for a node when there is none and none is being started [s]."""

START_PATIENCE = 900.0
"""The same while nodes are being started, which load the scene or wait until other work leaves their machine [s]."""

POLL = 0.25
"""Longest wait for an event [s]: how soon Ctrl-C acts."""

R = TypeVar("R")
"""What a node returns for a unit."""
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class Joined:
    """A node is ready for units."""

    node: str


@dataclass(frozen=True)
class Left:
    """A node has died, and the units that it had are to be given to others."""

    node: str
    reason: str


@dataclass(frozen=True)
class Refused:
    """A node cannot take part: it has another version or fingerprint, or cannot load the scene."""

    node: str
    reason: str


@dataclass(frozen=True)
class Delivered(Generic[R_co]):
    """A node has finished a unit, with this result."""

    node: str
    unit: Unit
    result: R_co


@dataclass(frozen=True)
class Failed:
    """A unit has failed on a node, which continues to work."""

    node: str
    unit: Unit
    reason: str


Event = Joined | Left | Refused | Failed | Delivered[R_co]


class Nodes(Protocol[R_co]):
    """The nodes of a cluster, as a dispatcher sees them."""

    def give(self, node: str, unit: Unit) -> None:
        """Send a unit to a node, which works on its units in this order."""

    def events(self, timeout: float) -> Sequence[Event[R_co]]:
        """The events since the last call; if there are none, wait up to `timeout` [s] for one."""

    @property
    def expects_more(self) -> bool:
        """Whether nodes are being started."""


class Dispatcher(Generic[R]):
    """Keeps the nodes of a cluster at work until all units are done.

    Args:
        ledger: The units.
        nodes: The nodes.
        take: Called with each unit and its first result; returns whether `is_over` is to be asked.
        say: Prints a warning.
        joined: Nodes that are ready already.
        now: The time [s].

    Attributes:
        ledger: The units.
    """

    def __init__(
        self,
        ledger: Ledger,
        nodes: Nodes[R],
        *,
        take: Callable[[Unit, R], bool],
        say: Callable[[str], object],
        joined: Sequence[str] = (),
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self.ledger = ledger
        self._nodes, self._deliver, self._say, self._now = nodes, take, say, now
        self._alone_since: float | None = None
        self._last_reason = self._refusal = ""
        self._has_joined = bool(joined)
        for node in joined:
            ledger.join(node)

    def run(self, *, is_over: Callable[[], bool], stop: Callable[[], bool], progress: Callable[[], object]) -> bool:
        """Work until all units are done or `is_over` returns True; return False if `stop` ended it.

        Args:
            is_over: Called after results for which `take` has returned True.
            stop: Called several times a second.
            progress: Called as often.

        Raises:
            ClusterError: A unit has failed three times, or there is no node.
        """
        while not self.ledger.is_finished:
            if stop():
                return False
            self._give()
            asks = [self._take(event) for event in self._nodes.events(POLL)]
            progress()
            if any(asks) and not self.ledger.is_finished and is_over():
                return True
            self._check_alone()
        return True

    def _give(self) -> None:
        """Give each node as many units as it has room for, one unit each in turn."""
        for depth in range(1, DEPTH + 1):
            for node in self.ledger.nodes:
                if self.ledger.load(node) < depth:
                    unit = self.ledger.give(node, self._now())
                    if unit is not None:
                        self._nodes.give(node, unit)

    def _take(self, event: Event[R]) -> bool:
        """Act on an event; return whether `is_over` is to be asked."""
        ledger, node = self.ledger, event.node
        if isinstance(event, Joined):
            ledger.join(node)
            self._has_joined = True
        elif isinstance(event, Delivered):
            return ledger.finish(node, event.unit, self._now()) and self._deliver(event.unit, event.result)
        elif isinstance(event, Failed):
            self._last_reason = f"{node}: {event.reason}"
            if ledger.fail(node, event.unit, event.reason):
                self._say(f"node {node} failed several times and gets no more work: {event.reason}")
        else:
            self._last_reason = f"{node}: {event.reason}"
            ledger.leave(node, event.reason)
            if isinstance(event, Refused):
                self._refusal = self._last_reason
                self._say(f"node {node} takes no part: {event.reason}")
        return False

    def _check_alone(self) -> None:
        """Raise an error if there has been no node for a while, or all were refused and none is being started."""
        if self.ledger.nodes:
            self._alone_since = None
            return
        if self._alone_since is None:
            self._alone_since = self._now()
        waited = self._now() - self._alone_since
        # Where no node has ever fitted, others will not either
        refusal = "" if self._has_joined else self._refusal
        patience = START_PATIENCE if self._nodes.expects_more else 0.0 if refusal else PATIENCE
        if waited >= patience:
            reason = refusal or self._last_reason or f"none joined within {patience:.0f} seconds"
            raise ClusterError(f"the cluster has no node that can render: {reason}")
