"""What runs on a node of a cluster: it loads the scene once, and traces the units that the driver sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nrc_tracer.cluster.ledger import Unit
from nrc_tracer.errors import ClusterError, NrcError, one_line
from nrc_tracer.tracer.choices import find_accel
from nrc_tracer.tracer.film_sums import BlockSums
from nrc_tracer.tracer.fingerprint import fingerprint_differences
from nrc_tracer.tracer.strips import PathJob, StripTracer, strips_of
from nrc_tracer.version import __version__

if TYPE_CHECKING:
    from nrc_tracer.cache.state import ImageState
    from nrc_tracer.tracer.cached_strips import CachedStripTracer, Round


@dataclass(frozen=True)
class Result:
    """What a node sends back for a unit.

    Attributes:
        sums: The sums of its samples; dropped samples are counted in uint8.
        counts: Counts of paths and queries, of an image with a radiance cache.
    """

    sums: BlockSums
    counts: ImageState | None


class Node:
    """Traces units of an image; lives in a process of its own.

    Errors are `ClusterError`s with one line of text, which can be sent to the driver whatever has raised them.

    Args:
        release: Version of the package on the driver.

    Raises:
        ClusterError: The package here has another version.
    """

    def __init__(self, release: str) -> None:
        if release != __version__:
            raise ClusterError(
                f"it has nrc-tracer {__version__}, and the driver {release}; install the same version on all nodes"
            )
        self._round: tuple[int, CachedStripTracer] | None = None

    def load(
        self,
        job: PathJob,
        device: str | None,
        accel: str | None,
        threads: int,
        fingerprint: Mapping[str, str] | None,
        cached: bool,
    ) -> None:
        """Prepare the scene.

        Args:
            job: Scene and settings.
            device: Warp device; None for a CUDA device if there is one, else the CPU.
            accel: What intersects triangles; None for Embree where it is available.
            threads: Threads on the CPU.
            fingerprint: That of the driver; None to accept any.
            cached: Whether the image has a radiance cache.

        Raises:
            ClusterError: The scene cannot be loaded, or samples have other bits here; the message names the difference.
        """
        from nrc_tracer.device.launch import initialize
        from nrc_tracer.device.selection import find_device

        try:
            initialize()
            device = find_device(device)
            self._tracer = StripTracer.of_job(job, device=device, threads=threads, accel=find_accel(accel, device)[0])
            here = self._tracer.fingerprint(cached=cached)
        except MemoryError as error:
            raise ClusterError("it has not enough memory for the scene") from error
        except Exception as error:
            raise ClusterError(_line(error)) from error
        differences = [] if fingerprint is None else fingerprint_differences(fingerprint, here)
        if differences:
            raise ClusterError(f"samples have other bits there: {'; '.join(differences)}; --mixed accepts it")
        width, height = self._tracer.size
        self._strips = strips_of(width, height)

    def trace(self, unit: Unit, number: Round | None = None) -> Result:
        """Trace a unit, with the cache of a round if one is given. Raises `ClusterError`."""
        try:
            if number is None:
                sums, counts = self._tracer.trace(self._strips[unit.strip], unit.first, unit.samples), None
            else:
                if self._round is None or self._round[0] != number.first:
                    from nrc_tracer.tracer.cached_strips import CachedStripTracer  # which loads torch

                    self._round = (number.first, CachedStripTracer(self._tracer, number))
                sums, counts = self._round[1].trace(self._strips[unit.strip], unit.first, unit.samples)
        except Exception as error:
            raise ClusterError(_line(error)) from error
        return Result(replace(sums, dropped=sums.dropped.astype(np.uint8)), counts)


def _line(error: Exception) -> str:
    """An error's message in one line, with its type unless it is one that users cause."""
    message = one_line(error)
    return message if isinstance(error, NrcError) else f"{type(error).__name__}: {message}"
