"""Running one kernel over many items: a single launch on CUDA, blocks on a pool of threads on the CPU.

Warp runs a CPU kernel on the calling thread and releases Python's interpreter lock, so the same kernel launched on disjoint
blocks from several threads runs in parallel. Its atomics are plain additions there: **each block must own what it writes**.
Kernels take `base`, the first item of their launch, and work on item `base + wp.tid()`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache, cached_property

import warp as wp

from nrc_tracer.device.crew import Crew, has_crews
from nrc_tracer.device.kernel_cache import choose_kernel_cache

BLOCKS_PER_THREAD = 8
"""Fewest launches per thread of a plain `Launcher`, if there are enough items."""


@cache
def initialize() -> None:
    """Start Warp without its banner, and without its warning that a machine without a GPU has no CUDA driver."""
    wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
    choose_kernel_cache()
    with _without_lines("CUDA driver"):
        wp.init()


@contextmanager
def _without_lines(words: str) -> Iterator[None]:
    """Drop the lines that contain `words` from what native code writes to standard error."""
    stream = sys.__stderr__
    try:
        descriptor = -1 if stream is None else stream.fileno()
        copy = os.dup(descriptor)
    except (OSError, ValueError):  # no such stream, as under some IDEs
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), descriptor)
        try:
            yield
        finally:
            os.dup2(copy, descriptor)
            os.close(copy)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                if words not in line:
                    with suppress(OSError):  # a full or closed stream
                        print(line, file=stream, flush=True)


def default_threads() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


class Launcher:
    """Launches kernels on one device.

    Args:
        device: Warp device, such as `cpu` or `cuda:0`.
        threads: Threads of the pool on the CPU; one per core unless given.
        block_size: Most items per launch on the CPU. Results do not depend on it.
        blocks_per_thread: Fewest launches per thread where there are enough items: more launches balance the load better, but
            each costs some hundredths of a millisecond.
    """

    def __init__(
        self,
        device: str,
        *,
        threads: int | None = None,
        block_size: int = 2048,
        blocks_per_thread: int = BLOCKS_PER_THREAD,
    ) -> None:
        self.device = wp.get_device(device)
        self.threads = threads or default_threads()
        self.block_size = block_size
        self.blocks_per_thread = blocks_per_thread
        parallel = not self.device.is_cuda and self.threads > 1
        self._pool: ThreadPoolExecutor | None = None
        if parallel:
            self._pool = ThreadPoolExecutor(self.threads - 1, "nrc", self._begin_thread)
            weakref.finalize(self, self._pool.shutdown, wait=False)

    @cached_property
    def crew(self) -> Crew | None:
        """Threads for work of less than a millisecond, made on first use; None if there is one thread, or none can be had."""
        return Crew(self.threads - 1) if self._pool is not None and has_crews() else None

    def run(
        self, kernel: wp.Kernel, count: int, arguments: Callable[[int], list], *, block_size: int | None = None
    ) -> None:
        """Run `kernel` on items 0 .. count - 1 and wait for it.

        Args:
            kernel: The kernel, already loaded.
            count: Number of items.
            arguments: Gives the kernel's arguments for a launch whose first item is `base`.
            block_size: Most items per launch on the CPU; the launcher's unless given.
        """
        if self.device.is_cuda:
            self._run_on_cuda(kernel, count, arguments(0))
            return

        # Small work is cut finer, so that every thread gets some
        size = max(1, min(block_size or self.block_size, -(-count // (self.blocks_per_thread * self.threads))))

        def launch(base: int) -> None:
            wp.launch(kernel, dim=min(size, count - base), inputs=arguments(base), device=self.device)

        self.each(launch, range(0, count, size))

    def _run_on_cuda(self, kernel: wp.Kernel, count: int, arguments: list) -> None:
        wp.launch(kernel, dim=count, inputs=arguments, device=self.device)
        wp.synchronize_device(self.device)

    @staticmethod
    def _begin_thread() -> None:
        """Prepare a thread of the pool before its first work.

        Not a method of the launcher: each thread keeps a reference to this function, and a launcher that its own threads refer to
        would never be collected, nor its threads end.
        """

    def each(self, work: Callable[[int], None], items: Sequence[int]) -> None:
        """Call `work` with every item, on this thread and those of the pool if there is one, and wait until all are done.

        Raises:
            Exception: What `work` raised; items that no thread had started by then are skipped.
        """
        if self._pool is None or len(items) < 2:
            for item in items:
                work(item)
            return

        remaining = iter(items)  # shared by the threads: taking the next of a range or list is atomic

        def drain() -> None:
            try:
                for item in remaining:
                    work(item)
            except BaseException:  # let no thread start another item
                for _ in remaining:
                    pass
                raise

        workers = [self._pool.submit(drain) for _ in range(min(self.threads, len(items)) - 1)]
        try:
            drain()
        finally:
            # A time limit lets Ctrl-C through on platforms whose waits cannot be interrupted
            while wait(workers, timeout=0.5).not_done:
                pass
        for worker in workers:
            worker.result()
