"""Launching a kernel block by block on a pool of threads."""

import threading
import time

import numpy as np
import pytest
import warp as wp

from nrc_tracer.device.launch import Launcher, default_threads
from tests.tracer import kernels


def run(launcher: Launcher, count: int) -> np.ndarray:
    """The sampler's first number pairs for `count` pixels, NaN where no launch wrote."""
    pixel = kernels.array(np.arange(count, dtype=np.int32), int)
    zero = kernels.array(np.zeros(count, np.int32), int)
    out = kernels.array(np.full((count, 2), np.nan, np.float32), wp.vec2)
    wp.load_module(kernels.sampler_kernel.module, device="cpu")
    launcher.run(kernels.sampler_kernel, count, lambda base: [0, 1, pixel, zero, zero, base, out])
    return out.numpy()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("block_size", [1, 7, 100, 1000])
def test_every_item_is_processed_with_any_block_size(threads, block_size):
    """Block sizes that divide the work, do not divide it, or exceed it all give the same result."""
    expected = run(Launcher("cpu", threads=1, block_size=10**6), 100)
    assert np.all(np.isfinite(expected))
    np.testing.assert_array_equal(run(Launcher("cpu", threads=threads, block_size=block_size), 100), expected)


def test_a_launch_without_items():
    """A launch without items returns at once."""
    Launcher("cpu", threads=2).run(kernels.sampler_kernel, 0, lambda base: pytest.fail("a launch of nothing"))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_block_reaches_the_caller(threads):
    """An exception on a pool thread is raised by `run`, and the pool stays usable."""
    launcher = Launcher("cpu", threads=threads, block_size=10)

    def arguments(base: int) -> list:
        raise ZeroDivisionError(f"at {base}")

    with pytest.raises(ZeroDivisionError, match="at "):
        launcher.run(kernels.sampler_kernel, 1000, arguments)
    assert np.all(np.isfinite(run(launcher, 30)))


def test_blocks_run_on_the_pool():
    """With two threads, launches come from the calling thread and one more; with one thread all come from the calling one."""
    for threads in (1, 2):
        seen = set()
        out = kernels.array(np.zeros((40, 2), np.float32), wp.vec2)
        ints = kernels.array(np.zeros(40, np.int32), int)

        def arguments(base: int, seen=seen, ints=ints, out=out) -> list:
            seen.add(threading.current_thread().name)
            time.sleep(0.02)  # long enough for the other thread to start
            return [0, 1, ints, ints, ints, base, out]

        Launcher("cpu", threads=threads, block_size=4).run(kernels.sampler_kernel, 40, arguments)
        assert threading.current_thread().name in seen
        assert len(seen) == threads


def test_the_default_number_of_threads_is_the_number_of_cores():
    """The number is at least one, and is used when none is given."""
    assert default_threads() >= 1
    assert Launcher("cpu").threads == default_threads()
