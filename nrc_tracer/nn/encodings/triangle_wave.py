"""TriangleWave: a cheap replacement for `Frequency`.

Mueller, Rousselle, Novak, Keller, *Real-time Neural Radiance Caching for Path Tracing* (2021), section 4.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.nn.encodings.elementwise import ElementwiseEncoding, PointKernels, elementwise_kernels
from nrc_tracer.nn.encodings.encoding import rounded

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration


@wp.func
def from_centre(x: float, frequency: float, phase: float) -> float:
    """Position in the period of a wave, in [-1/2, 1/2)."""
    v = frequency * x + phase  # a power of two times x, so that a fused operation rounds the same
    return v - wp.floor(v) - 0.5


@cache
def triangle_wave_kernels(n_frequencies: int) -> PointKernels:
    """Kernels for a number of frequencies."""

    @wp.func
    def encode(x: float, out: wp.array2d[float], i: int, column: int):
        frequency = float(0.5)
        phase = float(0.0)
        for k in range(wp.static(n_frequencies)):
            out[i, column + k] = 4.0 * wp.abs(from_centre(x, frequency, phase)) - 1.0
            frequency *= 2.0
            phase += 0.25

    @wp.func
    def gradient(x: float, d_out: wp.array2d[float], i: int, column: int) -> float:
        frequency = float(0.5)
        phase = float(0.0)
        result = 0.0 * x  # NaN stays NaN
        for k in range(wp.static(n_frequencies)):
            slope = wp.where(from_centre(x, frequency, phase) < 0.0, -4.0, 4.0) * frequency
            result += slope * d_out[i, column + k]
            frequency *= 2.0
            phase += 0.25
        return result

    return elementwise_kernels(f"triangle_wave_{n_frequencies}", n_frequencies, encode, gradient)


class TriangleWaveEncoding(ElementwiseEncoding):
    """Triangle waves 4 |v - floor(v) - 1/2| - 1 with v = 2^(k-1) x + k/4, for k below `n_frequencies`.

    The derivative at a kink is that on its right side; NaN and infinities give NaN.
    """

    def __init__(self, config: configuration.TriangleWave, n_input_dims: int) -> None:
        super().__init__(config, n_input_dims, config.n_frequencies)

    def columns(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        k = torch.arange(self.config.n_frequencies, dtype=torch.float32, device=x.device)
        frequency = torch.exp2(k - 1.0)
        exact = (x.detach().float() * frequency + 0.25 * k).to(dtype)
        from_centre = exact - exact.floor() - 0.5
        wave = 4.0 * from_centre.abs() - 1.0
        slope = torch.where(from_centre < 0.0, -4.0, 4.0).to(dtype) * frequency
        return rounded(wave, slope, x)

    @property
    def _kernels(self) -> PointKernels:
        return triangle_wave_kernels(self.config.n_frequencies)
