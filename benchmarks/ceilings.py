"""Peak rates of a machine, measured in the same run: copying memory, reading a table at random, multiply-adds, products."""

from __future__ import annotations

import torch
import warp as wp

from benchmarks.timing import time_in_turn
from benchmarks.torch_grid import torch_threads
from nrc_tracer.device.torch_launcher import TorchLauncher, single_threaded_torch
from nrc_tracer.nn.blocked_mlp import BLOCK
from nrc_tracer.nn.fused_cpu.kernels import compiler_flags

COPIED = 2**28
"""Size of the copied tensor [bytes], larger than caches."""

READS_PER_ITEM = 4096
"""Number of reads per item of the gather kernel."""

FACTOR = wp.constant(wp.uint32(2654435761))
"""Factor of the hash: a prime near 2^32 divided by the golden ratio."""

VECTORS_PER_ITEM, CHAINS = 1 << 16, 24
"""Number of steps of the kernel of multiply-adds per item, and number of vectors of sixteen floats per step."""


@wp.func_native(
    f"""
    typedef float Floats __attribute__((ext_vector_type(16)));
    Floats sums[{CHAINS}], a = 0.999f + 1e-6f * item, b = 1e-3f;
    for (int j = 0; j < {CHAINS}; ++j) sums[j] = (float)j;
    for (int k = 0; k < {VECTORS_PER_ITEM}; ++k)
        #pragma unroll
        for (int j = 0; j < {CHAINS}; ++j) sums[j] = __builtin_elementwise_fma(sums[j], a, b);
    Floats sum = 0.0f;
    for (int j = 0; j < {CHAINS}; ++j) sum += sums[j];
    return sum[item & 15];
"""
)
def chained(item: int) -> float:
    """A number that takes independent chains of multiply-adds in vectors (CPU only)."""
    ...


@wp.kernel(enable_backward=False, module="unique", module_options={"cpu_compiler_flags": compiler_flags()})
def multiply_add(base: int, sums: wp.array[float]):
    """Multiply and add in registers, and do nothing else."""
    item = base + wp.tid()
    sums[item] = chained(item)


@wp.kernel(enable_backward=False, module="unique")
def gather(base: int, mask: wp.uint32, table: wp.array[wp.vec2], sums: wp.array[wp.vec2]):
    """Read entries of a table at hashed places, with four independent sums, and do nothing else."""
    item = base + wp.tid()
    start = wp.uint32(item) * wp.uint32(wp.static(READS_PER_ITEM))
    a, b, c, d = wp.vec2(), wp.vec2(), wp.vec2(), wp.vec2()
    for k in range(0, wp.static(READS_PER_ITEM), 4):
        place = start + wp.uint32(k)
        a += table[int(scattered(place) & mask)]
        b += table[int(scattered(place + wp.uint32(1)) & mask)]
        c += table[int(scattered(place + wp.uint32(2)) & mask)]
        d += table[int(scattered(place + wp.uint32(3)) & mask)]
    sums[item] = a + b + c + d


@wp.func
def scattered(i: wp.uint32) -> wp.uint32:
    """A cheap hash whose low bits have no pattern."""
    h = i * FACTOR
    return h ^ (h >> wp.uint32(15))


def copy_bandwidth(device: torch.device, threads: int, rounds: int) -> float:
    """Bytes read and written per second when torch copies a large tensor."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    with torch_threads(threads):
        seconds = time_in_turn({"copy": lambda: target.copy_(source)}, device, rounds)["copy"]
    return 2 * COPIED / seconds


def multiply_add_rate(launcher: TorchLauncher, rounds: int) -> float:
    """Floating-point operations per second of multiply-adds in the CPU's registers, float32, on all threads."""
    items = 4 * launcher.threads
    sums = wp.zeros(items, dtype=float, device=launcher.device)

    def run() -> None:
        launcher.run(multiply_add, items, lambda base: [base, sums])

    seconds = time_in_turn({"multiply-add": run}, launcher.torch_device, rounds)["multiply-add"]
    return items * VECTORS_PER_ITEM * CHAINS * 32 / seconds


def gather_rate(launcher: TorchLauncher, log2_entries: int, rounds: int) -> float:
    """Random reads of 8 bytes from a table per second, on all threads."""
    items = 2**14 if launcher.device.is_cuda else 2**10
    table = wp.zeros(2**log2_entries, dtype=wp.vec2, device=launcher.device)
    sums = wp.zeros(items, dtype=wp.vec2, device=launcher.device)

    def run() -> None:
        launcher.run(gather, items, lambda base: [base, wp.uint32(2**log2_entries - 1), table, sums])

    seconds = time_in_turn({"gather": run}, launcher.torch_device, rounds)["gather"]
    return items * READS_PER_ITEM / seconds


def matrix_rate(launcher: TorchLauncher, shapes: list[tuple[int, int]], dtype: torch.dtype, rounds: int) -> float:
    """Floating-point operations per second in the matrix products of an MLP alone, in the same blocks as `BlockedMlp`.

    Args:
        launcher: Runs the blocks.
        shapes: Shapes of the matrices, (out, in).
        dtype: Type of the operands.
        rounds: Number of timings.
    """
    on_cuda = launcher.device.is_cuda
    rows = 2**18 if on_cuda else BLOCK
    blocks = 1 if on_cuda else 4 * launcher.threads
    operands = []
    for n_out, n_in in shapes:
        x = torch.ones(rows, n_in, dtype=dtype, device=launcher.torch_device)
        operands.append((x, torch.ones(n_out, n_in, dtype=dtype, device=launcher.torch_device).T))

    def block(_: int) -> None:
        with torch.inference_mode():
            for x, matrix in operands:
                torch.mm(x, matrix)

    def run() -> None:
        with single_threaded_torch(launcher):
            launcher.each(block, range(blocks))

    seconds = time_in_turn({"products": run}, launcher.torch_device, rounds)["products"]
    return blocks * rows * sum(2 * a * b for a, b in shapes) / seconds
