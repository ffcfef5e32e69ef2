"""Launching kernels among torch operations: on torch's CUDA stream, and with torch limited to one thread inside the pool.

Torch's own threads compete with the pool for the cores: under that contention torch's two threads fell from 288 to 9 GFLOP/s,
while a pool of two single-threaded blocks kept 152.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import warp as wp

from nrc_tracer.device.arrays import check_types
from nrc_tracer.device.launch import Launcher, initialize

BLOCKS_PER_THREAD = 3
"""Fewest launches per thread if there are enough items: the work of a network is small."""


class TorchLauncher(Launcher):
    """A launcher whose work may call torch.

    Args:
        device: Torch or Warp device.
        threads: Threads on the CPU; one per core unless given.

    Attributes:
        torch_device: The device, for torch.
    """

    def __init__(self, device: str | torch.device, *, threads: int | None = None) -> None:
        initialize()
        super().__init__(
            wp.device_from_torch(torch.device(device)), threads=threads, blocks_per_thread=BLOCKS_PER_THREAD
        )
        self.torch_device = torch.device(wp.device_to_torch(self.device))
        self._loaded: set[wp.Module] = set()

    def run(
        self, kernel: wp.Kernel, count: int, arguments: Callable[[int], list], *, block_size: int | None = None
    ) -> None:
        """Run a kernel as `Launcher.run` does, after loading its module: otherwise two threads would compile it twice.

        Raises:
            ArrayError: A tensor has another type than the kernel declares.
        """
        if kernel.module not in self._loaded:
            kernel.module.load(self.device, 256 if self.device.is_cuda else 1)
            self._loaded.add(kernel.module)
        first = arguments(0)
        check_types(kernel, first)
        super().run(kernel, count, lambda base: arguments(base) if base else first, block_size=block_size)

    def _run_on_cuda(self, kernel: wp.Kernel, count: int, arguments: list) -> None:
        """Launch in order with torch's operations, without waiting."""
        if count:
            stream = warp_stream(torch.cuda.current_stream(self.torch_device))
            wp.launch(kernel, dim=count, inputs=arguments, device=self.device, stream=stream)

    @staticmethod
    def _begin_thread() -> None:
        torch.set_num_threads(1)

    def each(self, work: Callable[[int], None], items: Sequence[int]) -> None:
        """Call `work` as `Launcher.each` does, with torch limited to one thread on each of the pool's threads."""
        with single_threaded_torch(self):
            super().each(work, items)


_STREAMS: dict[tuple[int, int], wp.Stream] = {}


def warp_stream(stream: torch.cuda.Stream) -> wp.Stream:
    """Warp's object for a stream of torch, always the same one: when one of several is destroyed, Warp forgets the stream."""
    key = (stream.device_index, stream.cuda_stream)
    if key not in _STREAMS:
        _STREAMS[key] = wp.stream_from_torch(stream)
    return _STREAMS[key]


@contextmanager
def single_threaded_torch(launcher: TorchLauncher) -> Iterator[None]:
    """Limit torch to one thread while the pool of a CPU launcher works, so that torch's own threads do not compete with it."""
    if launcher.device.is_cuda:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)  # new threads inherit this setting too
