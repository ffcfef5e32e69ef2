"""What runs on a node of a cluster: it loads the scene once, and does the units of work that the driver sends."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from nrc_tracer.cluster.ledger import Unit
from nrc_tracer.errors import ClusterError, NrcError, is_out_of_memory, one_line
from nrc_tracer.tracer.choices import find_accel
from nrc_tracer.tracer.film_sums import BlockSums
from nrc_tracer.tracer.fingerprint import fingerprint_differences
from nrc_tracer.tracer.strips import PathJob, StripTracer, strips_of
from nrc_tracer.tracer.vocabulary import Accel
from nrc_tracer.version import __version__

if TYPE_CHECKING:
    from nrc_tracer.cache.state import ImageState
    from nrc_tracer.tracer.cached_strips import CachedStripTracer, Round

J = TypeVar("J")
"""What a kind of node is told once: the scene, and what is done with it."""

NO_MEMORY = "it has not enough memory"
"""Message of a node that cannot allocate memory."""


@dataclass(frozen=True)
class Versions:
    """The versions that the driver and all nodes must share, because they exchange Python objects.

    Attributes:
        release: Version of this package.
        python: Version of Python without its last number, such as `3.12`.
    """

    release: str
    python: str

    @classmethod
    def here(cls) -> Versions:
        """The versions of this process."""
        return cls(__version__, ".".join(platform.python_version_tuple()[:2]))

    def difference(self, driver: Versions) -> str | None:
        """What differs on the driver and what to do, in one line; None if nothing does."""
        if self.release != driver.release:
            named = f"nrc-tracer {self.release}, and the driver {driver.release}"
        elif self.python != driver.python:
            named = f"Python {self.python}, and the driver {driver.python}"
        else:
            return None
        return f"it has {named}; install the same version on all nodes"


class Node(Generic[J]):
    """Works on units; lives in a process of its own. Subclasses define what a unit is.

    Errors are `ClusterError`s with one line of text, which can be sent to the driver whatever has raised them.

    Args:
        driver: Versions on the driver.

    Raises:
        ClusterError: The versions here are others.
    """

    def __init__(self, driver: Versions) -> None:
        difference = Versions.here().difference(driver)
        if difference:
            raise ClusterError(difference)

    def load(
        self,
        job: J,
        device: str | None,
        accel: str | None,
        threads: int,
        fingerprint: Mapping[str, str] | None,
        cached: bool,
    ) -> None:
        """Prepare the work.

        Args:
            job: What to work on.
            device: Warp device; None for a CUDA device if there is one, else the CPU.
            accel: What intersects triangles; None for Embree where it is available.
            threads: Threads on the CPU.
            fingerprint: That of the driver; None to accept any.
            cached: Whether the image has a radiance cache.

        Raises:
            ClusterError: The job cannot be loaded, or samples have other bits here; the message names the difference.
        """
        from nrc_tracer.device.launch import initialize
        from nrc_tracer.device.selection import find_device

        try:
            initialize()
            device = find_device(device)
            here = self._prepare(job, device, find_accel(accel, device)[0], threads, cached)
        except Exception as error:
            raise ClusterError(error_line(error, " for the scene")) from error
        differences = [] if fingerprint is None else fingerprint_differences(fingerprint, here)
        if differences:
            raise ClusterError(f"samples have other bits there: {'; '.join(differences)}; --mixed accepts it")

    def _prepare(self, job: J, device: str, accel: Accel, threads: int, cached: bool) -> dict[str, str]:
        """Load a job; return the fingerprint of this node."""
        raise NotImplementedError


@dataclass(frozen=True)
class PathResult:
    """What a node sends back for a unit of an image.

    Attributes:
        sums: The sums of its samples; dropped samples are counted in uint8.
        counts: Counts of paths and queries, of an image with a radiance cache.
    """

    sums: BlockSums
    counts: ImageState | None


class PathNode(Node[PathJob]):
    """Traces units of an image: a block of samples in a strip of rows."""

    def __init__(self, driver: Versions) -> None:
        super().__init__(driver)
        self._round: tuple[int, CachedStripTracer] | None = None

    def _prepare(self, job: PathJob, device: str, accel: Accel, threads: int, cached: bool) -> dict[str, str]:
        self._tracer = StripTracer.of_job(job, device=device, threads=threads, accel=accel)
        self._strips = strips_of(*self._tracer.size)
        return self._tracer.fingerprint(cached=cached)

    def work(self, unit: Unit, seed: int | None = None, number: Round | None = None) -> PathResult:
        """Trace a unit.

        Args:
            unit: The unit.
            seed: Seed of the image; None for that of the job.
            number: The round whose radiance cache is used; None for no cache.

        Raises:
            ClusterError: It cannot be traced.
        """
        try:
            if seed is not None:
                self._tracer.inputs.set_seed(seed)
            if number is None:
                sums, counts = self._tracer.trace(self._strips[unit.strip], unit.first, unit.samples), None
            else:
                if self._round is None or self._round[0] != number.first:
                    from nrc_tracer.tracer.cached_strips import CachedStripTracer  # which loads torch

                    self._round = (number.first, CachedStripTracer(self._tracer, number))
                sums, counts = self._round[1].trace(self._strips[unit.strip], unit.first, unit.samples)
        except Exception as error:
            raise ClusterError(error_line(error)) from error
        return PathResult(replace(sums, dropped=sums.dropped.astype(np.uint8)), counts)


def error_line(error: Exception, purpose: str = "") -> str:
    """An error's message in one line, with its type unless it is one that users cause; `purpose` is what memory was for."""
    message = one_line(error)
    if isinstance(error, NrcError):
        return message
    if is_out_of_memory(error):
        return f"{NO_MEMORY}{purpose}: {message}"
    return f"{type(error).__name__}: {message}"
