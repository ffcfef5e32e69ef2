"""Initial parameters: pcg32, the distributions of matrices, and the order in which a grid uses random numbers.

Source: O'Neill 2014, *PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number Generation*.
"""

from __future__ import annotations

import math

import numpy as np

from .encodings import GRIDS, Node, build
from .grid import fma
from .networks import ALIGNMENT, network_shapes

MULTIPLIER = 0x5851F42D4C957F2D
MASK = (1 << 64) - 1
THREADS = 128
DRAWS_PER_THREAD = 4


class Pcg32:
    """The generator XSH-RR 64/32: its congruential state as Python integers, and blocks of numbers by doubling."""

    def __init__(self, seed: int, sequence: int = 1) -> None:
        self.increment = (sequence << 1 | 1) & MASK
        self.state = 0
        self.advance(1)
        self.state = (self.state + seed) & MASK
        self.advance(1)

    def _jump(self, n: int) -> tuple[int, int]:
        """(a, c) of n steps s -> a s + c at once."""
        a, c, power, plus = 1, 0, MULTIPLIER, self.increment
        while n:
            if n & 1:
                a, c = a * power & MASK, (c * power + plus) & MASK
            plus, power = (power + 1) * plus & MASK, power * power & MASK
            n >>= 1
        return a, c

    def advance(self, n: int) -> None:
        a, c = self._jump(n)
        self.state = (a * self.state + c) & MASK

    def peek(self, n: int) -> np.ndarray:
        """The next n numbers, uint32 [n], without advancing the generator."""
        states = np.array([self.state], np.uint64)
        while len(states) < n:
            a, c = self._jump(len(states))
            states = np.concatenate((states, states * np.uint64(a) + np.uint64(c)))
        states = states[:n]
        shifted = (((states >> np.uint64(18)) ^ states) >> np.uint64(27)).astype(np.uint32)
        rotation = (states >> np.uint64(59)).astype(np.uint32)
        return (shifted >> rotation) | (shifted << ((~rotation + np.uint32(1)) & np.uint32(31)))

    def draw(self, n: int) -> np.ndarray:
        """The next n numbers, uint32 [n]."""
        values = self.peek(n)
        self.advance(n)
        return values


def unit_floats(draws: np.ndarray) -> np.ndarray:
    """float32 in [0, 1): the upper 23 bits are the mantissa of a number in [1, 2), from which 1 is subtracted."""
    return ((draws >> np.uint32(9)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)


def _matrices(rng: Pcg32, config: dict, n_in_padded: int, n_out: int) -> list[np.ndarray]:
    sine = config.get("activation", "ReLU").lower() == "sine"
    flat = []
    for i, (rows, columns) in enumerate(network_shapes(config, n_in_padded, n_out)):
        if not sine:
            bound = np.sqrt(np.float32(6) / np.float32(rows + columns))
        elif i == 0:
            bound = np.float32(30) / np.float32(columns)
        else:
            bound = np.sqrt(np.float32(6) / np.float32(columns))
        flat.append(unit_floats(rng.draw(rows * columns)) * np.float32(2) * bound - bound)
    return flat


def _grids(rng: Pcg32, node: Node) -> list[np.ndarray]:
    if node.kind not in GRIDS:
        return [table for child in node.children for table in _grids(rng, child)]
    n = node.n_params
    n_threads = THREADS * math.ceil(math.ceil(n / DRAWS_PER_THREAD) / THREADS)
    # Thread i writes its j-th number to i + n_threads * j
    draws = rng.peek(DRAWS_PER_THREAD * n_threads).reshape(n_threads, DRAWS_PER_THREAD).T.ravel()[:n]
    rng.advance(n)
    bound = np.float32(1e-4)
    # nvcc contracts value * width + lower to a fused multiply-add
    return [fma(unit_floats(draws), bound + bound, -float(bound))]


def initial_parameters(
    n_in: int, n_out: int, encoding: dict | None, network: dict | None, seed: int = 1337
) -> np.ndarray:
    """Flat float32 parameters, network before encoding. A missing encoding is Identity, and the network may be missing."""
    rng = Pcg32(seed)
    node = build(encoding or {"otype": "Identity"}, n_in, ALIGNMENT if network is not None else 0)
    parts = [] if network is None else _matrices(rng, network, node.padded, n_out)
    parts += _grids(rng, node)
    return np.concatenate([np.zeros(0, np.float32), *parts]).astype(np.float32)
