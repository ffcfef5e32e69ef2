"""Initial parameters: tiny-cuda-nn's random number generator and its order of draws.

PCG32: O'Neill, *PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number Generation* (2014).
"""

from __future__ import annotations

import math

import numpy as np

MULTIPLIER = 6364136223846793005
_MASK = 2**64 - 1
_BLOCK = 1 << 16


class Pcg32:
    """The generator pcg32, which can skip draws and draws many floats at a time.

    Args:
        seed: `initstate`.
        sequence: `initseq`.
    """

    def __init__(self, seed: int, sequence: int = 1) -> None:
        self._increment = (sequence << 1 | 1) & _MASK
        self._state = 0
        self.advance(1)
        self._state = (self._state + seed) & _MASK
        self.advance(1)

    def advance(self, n: int) -> None:
        """Skip `n` draws (Brown, *Random Number Generation with Arbitrary Stride*, 1994)."""
        factor, addend, total_factor, total_addend = MULTIPLIER, self._increment, 1, 0
        while n:
            if n & 1:
                total_factor = total_factor * factor & _MASK
                total_addend = (total_addend * factor + addend) & _MASK
            addend = (factor + 1) * addend & _MASK
            factor = factor * factor & _MASK
            n >>= 1
        self._state = (total_factor * self._state + total_addend) & _MASK

    def integers(self, n: int) -> np.ndarray:
        """The next `n` draws, uint32 [n]."""
        factors, addends = self._steps(min(n, _BLOCK))
        out = np.empty(n, dtype=np.uint32)
        for begin in range(0, n, _BLOCK):
            size = min(_BLOCK, n - begin)
            states = factors[:size] * np.uint64(self._state) + addends[:size]
            xored = (((states >> np.uint64(18)) ^ states) >> np.uint64(27)).astype(np.uint32)
            turn = (states >> np.uint64(59)).astype(np.uint32)
            out[begin : begin + size] = (xored >> turn) | (xored << (-turn & np.uint32(31)))
            self.advance(size)
        return out

    def floats(self, n: int) -> np.ndarray:
        """The next `n` draws as float32 in [0, 1), 23 bits each."""
        return ((self.integers(n) >> np.uint32(9)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1.0)

    def symmetric_floats(self, n: int, bound: float) -> np.ndarray:
        """The next `n` draws as float32 in [-bound, bound)."""
        scale = np.float32(bound)
        return self.floats(n) * np.float32(2.0) * scale - scale

    def grid_floats(self, n: int, bound: float) -> np.ndarray:
        """`n` float32 in [-bound, bound) in the order of tiny-cuda-nn's kernel: four strided elements per thread."""
        n_threads = 128 * math.ceil(math.ceil(n / 4) / 128)
        begin = self._state
        draws = self.floats(4 * n_threads).reshape(n_threads, 4).T.reshape(-1)[:n]
        self._state = begin
        self.advance(n)
        low, high = np.float32(-bound), np.float32(bound)
        # nvcc contracts this to a fused multiply-add; its product is exact in float64
        return (draws.astype(np.float64) * (high - low) + low).astype(np.float32)

    def _steps(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Factors and addends, uint64 [n], that give the states of draws 0, 1, ... n - 1 from the current state."""
        factors = np.ones(max(n, 1), dtype=np.uint64)
        addends = np.zeros(max(n, 1), dtype=np.uint64)
        size, factor, addend = 1, MULTIPLIER, self._increment
        while size < n:  # each of the first `size` steps, followed by `size` more
            end = min(2 * size, n)
            factors[size:end] = factors[: end - size] * np.uint64(factor)
            addends[size:end] = addends[: end - size] * np.uint64(factor) + np.uint64(addend)
            addend = (factor + 1) * addend & _MASK
            factor = factor * factor & _MASK
            size *= 2
        return factors[:n], addends[:n]
