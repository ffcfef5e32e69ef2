"""Frequency: sines and cosines whose frequencies double.

Mildenhall et al., *NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis* (2020), section 5.1.
"""

from __future__ import annotations

import math
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
def reduced_angle(half_turns: float) -> float:
    """An angle in half turns, reduced by whole turns to [-1, 1] without rounding."""
    return half_turns - 2.0 * wp.rint(0.5 * half_turns)


@cache
def frequency_kernels(n_frequencies: int) -> PointKernels:
    """Kernels for a number of frequencies."""

    @wp.func
    def encode(x: float, out: wp.array2d[float], i: int, column: int):
        angle = reduced_angle(x)
        for k in range(wp.static(n_frequencies)):
            out[i, column + 2 * k] = wp.sin(wp.PI * angle)
            out[i, column + 2 * k + 1] = wp.cos(wp.PI * angle)
            angle = reduced_angle(2.0 * angle)

    @wp.func
    def gradient(x: float, d_out: wp.array2d[float], i: int, column: int) -> float:
        angle = reduced_angle(x)
        slope = float(wp.PI)
        result = float(0.0)
        for k in range(wp.static(n_frequencies)):
            d_sine = d_out[i, column + 2 * k]
            d_cosine = d_out[i, column + 2 * k + 1]
            result += slope * (d_sine * wp.cos(wp.PI * angle) - d_cosine * wp.sin(wp.PI * angle))
            angle = reduced_angle(2.0 * angle)
            slope *= 2.0
        return result

    return elementwise_kernels(f"frequency_{n_frequencies}", 2 * n_frequencies, encode, gradient)


class FrequencyEncoding(ElementwiseEncoding):
    """sin(2^k pi x) and cos(2^k pi x), side by side, for k below `n_frequencies`; NaN and infinities give NaN.

    2^k x is reduced to one turn without rounding before it is multiplied by pi.
    """

    def __init__(self, config: configuration.Frequency, n_input_dims: int) -> None:
        super().__init__(config, n_input_dims, 2 * config.n_frequencies)

    def columns(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        result = []
        for k in range(self.config.n_frequencies):
            # The remainder of a float32 times a power of two is exact in float64, and in float32 again
            exact = torch.fmod(x.detach().float().double() * 2.0**k, 2.0)
            angle = math.pi * rounded(exact.to(dtype), 2.0**k, x)
            result += [angle.sin(), angle.cos()]
        return torch.cat(result, dim=2)

    @property
    def _kernels(self) -> PointKernels:
        return frequency_kernels(self.config.n_frequencies)
