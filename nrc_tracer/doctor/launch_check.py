"""The check of launches and copies: integers of a kernel against NumPy's, bit for bit."""

from __future__ import annotations

import numpy as np
import warp as wp

from nrc_tracer.device.launch import Launcher
from nrc_tracer.device.random_bits import GOLDEN, mix_bits
from nrc_tracer.doctor.check import Comparison

COUNT = 100_003
"""Number of integers: no multiple of a block of threads."""


@wp.kernel(enable_backward=False)
def mix_all(base: int, values: wp.array[wp.uint64], mixed: wp.array[wp.uint64]):
    i = base + wp.tid()
    mixed[i] = mix_bits(values[i] + GOLDEN * wp.uint64(i))


def mix_in_numpy(values: np.ndarray) -> np.ndarray:
    """What `mix_all` computes, with NumPy's integers, which also wrap at 64 bits."""
    x = values + np.uint64(int(GOLDEN)) * np.arange(len(values), dtype=np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def compare_launches(device: str) -> list[Comparison]:
    """Copy random integers to the device, mix them there, and compare with NumPy what comes back."""
    values = np.random.default_rng(1).integers(0, 2**64, COUNT, dtype=np.uint64)
    given = wp.array(values, dtype=wp.uint64, device=device)
    mixed = wp.zeros(COUNT, dtype=wp.uint64, device=device)
    launcher = Launcher(device)
    wp.load_module(mix_all.module, device=device)
    launcher.run(mix_all, COUNT, lambda base: [base, given, mixed])
    returned = int(np.sum(given.numpy() != values))
    wrong = int(np.sum(mixed.numpy() != mix_in_numpy(values)))
    return [
        Comparison("integers changed by the copy", returned, 0.0),
        Comparison("integers mixed wrongly", wrong, 0.0),
    ]
