"""The ledger: which units of work are to be done, which are out on which nodes, and which are done. It uses no network."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from nrc_tracer.errors import ClusterError
from nrc_tracer.tracer.film_sums import BLOCK

TRIES = 3
"""Number of failures of one unit, or of failures of one node in succession, after which it is given up."""

WINDOW = 2
"""Usual number of blocks of samples that may be in work at once, which bounds the memory for sums that wait to be added."""

SLOW = 2.0
"""Ratio of the time a unit has been out to the usual time, from which it is given to another node that has nothing else to do."""

_REMEMBERED = 64
"""Number of latest units whose times decide what is usual."""


@dataclass(frozen=True, order=True)
class Unit:
    """Work for one node: `samples` samples, from number `first` on, of the pixels of a strip."""

    first: int
    strip: int
    samples: int


def name_of(unit: Unit) -> str:
    """A unit of an image, for messages."""
    return f"samples {unit.first}:{unit.first + unit.samples} of strip {unit.strip}"


@dataclass
class _Record:
    """A unit that is not done: the nodes that have it, and those on which it failed."""

    nodes: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)


class Ledger:
    """Gives out units in the order of their blocks, and again if their node fails, leaves or is slow.

    Times are arguments [s], so that nothing here reads a clock.

    Args:
        strips: Number of strips of the image.
        first: Index of the first sample, a multiple of 64.
        end: The index after that of the last sample; None to continue until nobody asks for more.
        window: Number of blocks of samples that may be in work at once.
        name: Names a unit in messages.

    Attributes:
        done: Number of units done.
    """

    def __init__(
        self,
        strips: int,
        *,
        first: int,
        end: int | None,
        window: int = WINDOW,
        name: Callable[[Unit], str] = name_of,
    ) -> None:
        self._strips, self._end, self._window, self._name = strips, end, window, name
        self._frontier = self._next_block = first
        self._next_strip = 0
        self._missing: dict[int, int] = {}  # units of each begun block that are not done
        self._open: dict[Unit, _Record] = {}
        self._waiting: list[Unit] = []  # to be given again
        self._nodes: dict[str, int] = {}  # with the number of failures since the last success
        self._given: dict[tuple[Unit, str], float] = {}  # when each node got a unit [s], the oldest first
        self._held: defaultdict[str, set[Unit]] = defaultdict(set)  # what each node has yet to answer
        self._times: deque[float] = deque(maxlen=_REMEMBERED)
        self.done = 0

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that may get units."""
        return tuple(self._nodes)

    @property
    def frontier(self) -> int:
        """The first sample of the first block that is not done."""
        return self._frontier

    @property
    def out(self) -> int:
        """Number of units that are out, one on two nodes counted twice."""
        return len(self._given)

    @property
    def is_finished(self) -> bool:
        """Whether all units are done."""
        return self._end is not None and self._frontier >= self._end

    def join(self, node: str) -> None:
        """Let a node have units."""
        self._nodes.setdefault(node, 0)

    def load(self, node: str) -> int:
        """Number of units that a node has yet to answer, those included that another node has delivered meanwhile."""
        return len(self._held[node])

    def give(self, node: str, now: float) -> Unit | None:
        """The next unit for a node, or None if there is nothing for it to do now."""
        if node not in self._nodes:
            return None
        unit = self._returned(node) or self._fresh() or self._slow(node, now)
        if unit is not None:
            self._open[unit].nodes.add(node)
            self._given[unit, node] = now
            self._held[node].add(unit)
        return unit

    def _returned(self, node: str) -> Unit | None:
        """A unit to be given again: to this node only if it has not failed there, or no other node is left to try."""
        for unit in sorted(self._waiting):
            failed = self._open[unit].failed
            if node not in failed or set(self._nodes) <= set(failed):
                self._waiting.remove(unit)
                return unit
        return None

    def _fresh(self) -> Unit | None:
        """A unit that nobody had yet, within the window."""
        first = self._next_block
        if first >= self._frontier + self._window * BLOCK or (self._end is not None and first >= self._end):
            return None
        samples = BLOCK if self._end is None else min(BLOCK, self._end - first)
        unit = Unit(first, self._next_strip, samples)
        self._missing.setdefault(first, self._strips)
        self._open[unit] = _Record()
        self._next_strip += 1
        if self._next_strip == self._strips:
            self._next_block, self._next_strip = first + BLOCK, 0
        return unit

    def _slow(self, node: str, now: float) -> Unit | None:
        """The unit that has been out for the longest, if that is long, and it is out on one other node only."""
        if not self._times:
            return None
        limit = SLOW * statistics.median(self._times)
        for (unit, _), since in self._given.items():
            if now - since <= limit:
                break
            record = self._open[unit]
            if len(record.nodes) == 1 and node not in record.nodes and node not in record.failed:
                return unit
        return None

    def finish(self, node: str, unit: Unit, now: float) -> bool:
        """Note that a node has delivered a unit; return False if the unit was done already: its result is to be dropped."""
        if node in self._nodes:
            self._nodes[node] = 0
        self._held[node].discard(unit)
        record = self._open.pop(unit, None)
        if record is None:
            return False
        if unit in self._waiting:
            self._waiting.remove(unit)
        if node in record.nodes:
            self._times.append(now - self._given[unit, node])
        for holder in record.nodes:
            del self._given[unit, holder]
        self.done += 1
        self._missing[unit.first] -= 1
        while self._missing.get(self._frontier) == 0:
            del self._missing[self._frontier]
            self._frontier += BLOCK
        return True

    def fail(self, node: str, unit: Unit, reason: str) -> bool:
        """Note that a unit has failed on a node; return whether the node gets no more units, after three failures in succession.

        Raises:
            ClusterError: The unit has failed three times.
        """
        self._held[node].discard(unit)
        self._return(node, unit, reason)
        if node in self._nodes:
            self._nodes[node] += 1
            if self._nodes[node] >= TRIES and len(self._nodes) > 1:
                self.leave(node, reason)
                return True
        return False

    def leave(self, node: str, reason: str) -> None:
        """Note that a node is gone: its units are given to others. The first unit may be the cause, and counts as failed.

        Raises:
            ClusterError: That unit has failed three times.
        """
        self._nodes.pop(node, None)
        self._held.pop(node, None)
        lost = [unit for unit, holder in self._given if holder == node]
        for number, unit in enumerate(lost):
            self._return(node, unit, reason if number == 0 else None)

    def _return(self, node: str, unit: Unit, reason: str | None) -> None:
        """Take a unit back from a node; `reason` is why it failed, None if it did not."""
        record = self._open.get(unit)
        if record is None or node not in record.nodes:
            return
        record.nodes.remove(node)
        del self._given[unit, node]
        if reason is not None:
            record.failed.append(node)
            if len(record.failed) >= TRIES:
                nodes = ", ".join(dict.fromkeys(record.failed))
                raise ClusterError(f"{self._name(unit)} failed {TRIES} times (on {nodes}): {reason}")
        if not record.nodes:
            self._waiting.append(unit)
