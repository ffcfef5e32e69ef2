"""The driver: gives units of an image to nodes, adds their results to the film in order, and copes with nodes that fail."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nrc_tracer.cache.state import ImageState
from nrc_tracer.cluster.ledger import WINDOW, Ledger, Unit
from nrc_tracer.errors import ClusterError
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.film_sums import BlockSums
from nrc_tracer.tracer.strips import Strip, strips_of

DEPTH = 2
"""Number of units on a node at once: one that it traces, and one that waits for it."""

PATIENCE = 60.0
"""Time for which the driver waits for a node when there is none and none is being started [s]."""

START_PATIENCE = 900.0
"""The same while nodes are being started, which load the scene or wait until other work leaves their machine [s]."""

WINDOW_BYTES = 2**31
"""Memory for blocks that wait to be added [bytes]: it decides how many nodes have work. Two blocks may be in work in any case."""

LARGEST_WINDOW = 64
"""Largest number of blocks in work at once."""

BYTES_PER_PIXEL = 52
"""Memory for one pixel of a block that waits: two float64 sums of three channels, and the dropped samples."""

POLL = 0.25
"""Longest wait for an event [s]: how soon Ctrl-C acts."""


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
class Delivered:
    """A node has finished a unit."""

    node: str
    unit: Unit
    sums: BlockSums
    counts: ImageState | None = None


@dataclass(frozen=True)
class Failed:
    """A unit has failed on a node, which continues to work."""

    node: str
    unit: Unit
    reason: str


Event = Joined | Left | Refused | Delivered | Failed


class Nodes(Protocol):
    """The nodes of a cluster, as the driver sees them."""

    def give(self, node: str, unit: Unit) -> None:
        """Send a unit to a node, which traces its units in this order."""

    def events(self, timeout: float) -> Sequence[Event]:
        """The events since the last call; if there are none, wait up to `timeout` [s] for one."""

    @property
    def expects_more(self) -> bool:
        """Whether nodes are being started."""


@dataclass(frozen=True)
class Progress:
    """The progress of a render on a cluster.

    Attributes:
        nodes: Number of nodes at work.
        units: Number of units done.
        out: Number of units in work.
        samples: Samples of pixels in the units that are done.
    """

    nodes: int
    units: int
    out: int
    samples: int


@dataclass
class _Block:
    """The sums of a block, of which those of `missing` strips are still to come."""

    sums: BlockSums
    samples: int
    missing: int


class FilmAssembly:
    """Adds blocks to a renderer's film in order, each once the sums of all its strips are there.

    Args:
        renderer: The renderer.
        strips: The strips of its image.
    """

    def __init__(self, renderer: Renderer, strips: Sequence[Strip]) -> None:
        self._renderer, self._strips = renderer, strips
        self._blocks: dict[int, _Block] = {}
        self._start = clock.perf_counter()

    def add(self, unit: Unit, sums: BlockSums) -> bool:
        """Take the sums of a unit; return whether the film has grown."""
        renderer, rows = self._renderer, self._strips[unit.strip].slice
        if unit.first not in self._blocks:
            empty = BlockSums.for_parts_like(sums, renderer.height)
            self._blocks[unit.first] = _Block(empty, unit.samples, len(self._strips))
        block = self._blocks[unit.first]
        block.sums.assign_rows(rows, sums)
        block.missing -= 1
        before = renderer.samples
        while renderer.samples in self._blocks and not self._blocks[renderer.samples].missing:
            whole, now = self._blocks.pop(renderer.samples), clock.perf_counter()
            renderer.add_block(whole.sums, whole.samples, seconds=now - self._start)
            self._start = now
        return renderer.samples > before


def window_of(width: int, height: int) -> int:
    """Number of blocks that may be in work at once for an image of this size [pixels]."""
    return max(WINDOW, min(LARGEST_WINDOW, WINDOW_BYTES // (BYTES_PER_PIXEL * width * height)))


class Driver:
    """Renders an image on the nodes of a cluster.

    Args:
        renderer: The renderer whose film gets the samples. It has a multiple of 64 samples per pixel.
        nodes: The nodes.
        end: Samples per pixel at the end; None to continue until `is_over` returns True.
        say: Prints a warning.
        joined: Nodes that are ready already.
        now: The time [s].

    Attributes:
        samples: Samples of pixels in the units that are done.
        counts: Sums of the counts that came with them, of an image with a radiance cache.
    """

    def __init__(
        self,
        renderer: Renderer,
        nodes: Nodes,
        *,
        end: int | None,
        say: Callable[[str], object],
        joined: Sequence[str] = (),
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._nodes, self._say, self._now = nodes, say, now
        self._strips = strips_of(renderer.width, renderer.height)
        self._width = renderer.width
        window = window_of(renderer.width, renderer.height)
        self._ledger = Ledger(len(self._strips), first=renderer.samples, end=end, window=window)
        self._film = FilmAssembly(renderer, self._strips)
        self._alone_since: float | None = None
        self._last_reason = self._refusal = ""
        self._has_joined = bool(joined)
        self.samples, self.counts = 0, ImageState()
        for node in joined:
            self._ledger.join(node)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that may get units."""
        return self._ledger.nodes

    @property
    def units(self) -> int:
        """Number of units done."""
        return self._ledger.done

    def run(
        self, *, is_over: Callable[[], bool], stop: Callable[[], bool], progress: Callable[[Progress], object]
    ) -> bool:
        """Work until all units are done or `is_over` returns True after the film has grown; return False if `stop` ended it.

        Args:
            is_over: Called whenever the film has grown.
            stop: Called several times a second.
            progress: Called as often.

        Raises:
            ClusterError: A unit has failed three times, or there is no node.
        """
        while not self._ledger.is_finished:
            if stop():
                return False
            self._give()
            grown = [self._take(event) for event in self._nodes.events(POLL)]
            progress(Progress(len(self._ledger.nodes), self._ledger.done, self._ledger.out, self.samples))
            if any(grown) and not self._ledger.is_finished and is_over():
                return True
            self._check_alone()
        return True

    def _give(self) -> None:
        """Give each node as many units as it has room for, one unit each in turn."""
        for depth in range(1, DEPTH + 1):
            for node in self._ledger.nodes:
                if self._ledger.load(node) < depth:
                    unit = self._ledger.give(node, self._now())
                    if unit is not None:
                        self._nodes.give(node, unit)

    def _take(self, event: Event) -> bool:
        """Act on an event; return whether the film has grown."""
        ledger, node = self._ledger, event.node
        if isinstance(event, Joined):
            ledger.join(node)
            self._has_joined = True
        elif isinstance(event, Delivered):
            if ledger.finish(node, event.unit, self._now()):
                if event.counts is not None:
                    self.counts.add(event.counts)
                self.samples += event.unit.samples * self._strips[event.unit.strip].rows * self._width
                return self._film.add(event.unit, event.sums)
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
        if self._ledger.nodes:
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
