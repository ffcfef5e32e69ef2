"""CUDA graphs of torch operations and kernels, and timing that does not wait for the device."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import warp as wp

from nrc_tracer.device.torch_launcher import TorchLauncher, warp_stream


class Recording:
    """Work on a GPU that is recorded as a CUDA graph and launched as a whole. **It has never run on a GPU.**

    The first call does the work directly, which loads the kernels. The second call records it, and from then on the device
    repeats the recording. The work must not wait for the device and must use the same memory each time. On the CPU every call
    does the work.

    Args:
        launcher: The launcher of the device.
    """

    def __init__(self, launcher: TorchLauncher) -> None:
        self._launcher = launcher
        self._is_loaded = False
        self._graph: torch.cuda.CUDAGraph | None = None
        self._modules: wp.Graph | None = None

    def __call__(self, work: Callable[[], object]) -> None:
        """Do the work or replay its recording. It must be the same work in every call."""
        if not (self._launcher.device.is_cuda and self._is_loaded):
            work()
            self._is_loaded = True
            return
        if self._graph is None:
            self._graph = self._record(work)
        self._graph.replay()

    @property
    def is_recorded(self) -> bool:
        """Whether the work is replayed from a recording."""
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
"""Most timed parts that a stopwatch leaves unread before it waits for the device."""


class Stopwatch:
    """Adds up the time that a device takes for named parts of the work.

    It waits for the device when it is read, and after every `MOST_RUNNING` parts. Time that a GPU spends waiting for the host
    inside a part counts too, for example while the host records a graph.

    Args:
        launcher: The launcher of the device.
    """

    def __init__(self, launcher: TorchLauncher) -> None:
        self._launcher = launcher
        self._seconds: dict[str, float] = {}
        self._running: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add the time of the work inside the `with` block to a part."""
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
        """The total time of every part so far [s]."""
        for part, begin, end in self._running:
            end.synchronize()
            self._add(part, 1e-3 * begin.elapsed_time(end))
        self._running.clear()
        return dict(self._seconds)

    def _add(self, part: str, seconds: float) -> None:
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds
