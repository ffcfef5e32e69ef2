"""Work of torch and of kernels that is launched as a whole, and timed, without waiting for the device."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import warp as wp

from nrc_tracer.device.torch_launcher import TorchLauncher, warp_stream


class Recording:
    """Work on a GPU that is launched as a whole, as a CUDA graph. **It has never run on a GPU.**

    The first call does the work as it is, which loads kernels; the second records it, and from then on it is repeated by the
    device alone. It must not wait for the device, and must use the same memory each time. On the CPU every call does the work.

    Args:
        launcher: Of the device.
    """

    def __init__(self, launcher: TorchLauncher) -> None:
        self._launcher = launcher
        self._is_loaded = False
        self._graph: torch.cuda.CUDAGraph | None = None
        self._modules: wp.Graph | None = None

    def __call__(self, work: Callable[[], object]) -> None:
        """Do the work, which is the same in every call, or have it done."""
        if not (self._launcher.device.is_cuda and self._is_loaded):
            work()
            self._is_loaded = True
            return
        if self._graph is None:
            self._graph = self._record(work)
        self._graph.replay()

    @property
    def is_recorded(self) -> bool:
        """Whether the device repeats the work alone."""
        return self._graph is not None

    def _record(self, work: Callable[[], object]) -> torch.cuda.CUDAGraph:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(self._launcher.torch_device)
        known = warp_stream(stream)
        with (
            torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
            wp.ScopedCapture(stream=known, external=True) as capture,
        ):
            work()
        self._modules = capture.graph  # keeps the kernels' code loaded
        return graph


MOST_RUNNING = 64
"""Parts of the work that a stopwatch does not wait for."""


class Stopwatch:
    """Adds up the time of parts of the work on a device, for which it waits now and then, and when it is read.

    What a GPU spends waiting for the host inside a part counts, as when the host records a graph.

    Args:
        launcher: Of the device.
    """

    def __init__(self, launcher: TorchLauncher) -> None:
        self._launcher = launcher
        self._seconds: dict[str, float] = {}
        self._running: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add the time of what is done, or given to a GPU, inside."""
        if not self._launcher.device.is_cuda:
            start = clock.perf_counter()
            yield
            self._add(part, clock.perf_counter() - start)
            return
        stream = torch.cuda.current_stream(self._launcher.torch_device)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record(stream)
        yield
        end.record(stream)
        self._running.append((part, begin, end))
        if len(self._running) > MOST_RUNNING:
            self.seconds()

    def seconds(self) -> dict[str, float]:
        """The time so far of every part that was timed [s]."""
        for part, begin, end in self._running:
            end.synchronize()
            self._add(part, 1e-3 * begin.elapsed_time(end))
        self._running.clear()
        return dict(self._seconds)

    def _add(self, part: str, seconds: float) -> None:
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds
