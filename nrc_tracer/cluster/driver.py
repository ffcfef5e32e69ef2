"""The driver of an image: gives its units to nodes, and adds their sums to the film in order."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nrc_tracer.cache.state import ImageState
from nrc_tracer.cluster.dispatch import Dispatcher, Nodes
from nrc_tracer.cluster.ledger import WINDOW, Ledger, Unit
from nrc_tracer.cluster.node import PathResult
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.film_sums import BlockSums
from nrc_tracer.tracer.strips import Strip, strips_of

WINDOW_BYTES = 2**31
"""Memory for blocks that wait to be added [bytes]: it decides how many nodes have work. Two blocks may be in work in any case."""

LARGEST_WINDOW = 64
"""Largest number of blocks in work at once."""

BYTES_PER_PIXEL = 52
"""Memory for one pixel of a block that waits, without a cache: two float64 sums of three channels, and the dropped samples."""


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
        nodes: Nodes[PathResult],
        *,
        end: int | None,
        say: Callable[[str], object],
        joined: Sequence[str] = (),
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._strips = strips_of(renderer.width, renderer.height)
        self._width = renderer.width
        window = window_of(renderer.width, renderer.height)
        self._ledger = Ledger(len(self._strips), first=renderer.samples, end=end, window=window)
        self._film = FilmAssembly(renderer, self._strips)
        self._dispatcher = Dispatcher(self._ledger, nodes, take=self._take, say=say, joined=joined, now=now)
        self.samples, self.counts = 0, ImageState()

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
        ledger = self._ledger

        def show() -> None:
            progress(Progress(len(ledger.nodes), ledger.done, ledger.out, self.samples))

        return self._dispatcher.run(is_over=is_over, stop=stop, progress=show)

    def _take(self, unit: Unit, result: PathResult) -> bool:
        """Add the result of a unit; return whether the film has grown."""
        if result.counts is not None:
            self.counts.add(result.counts)
        self.samples += unit.samples * self._strips[unit.strip].rows * self._width
        return self._film.add(unit, result.sums)
