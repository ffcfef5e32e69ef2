"""Real spherical harmonics of a direction, as polynomials of its coordinates.

Sloan, *Stupid Spherical Harmonics Tricks* (2008), appendix A1, with the normalisation taken into the recurrences:

    Y_l^m = q_l^|m|(z) {cos, sin}_|m|(x, y),   cos for m >= 0 and sin for m < 0,

where cos_m + i sin_m = (x + i y)^m and q_l^m is the normalised m-th derivative of the Legendre polynomial P_l, with the
Condon-Shortley phase (-1)^m. Column l (l + 1) + m holds Y_l^m: bands l ascend, and m from -l to l in each. The polynomials are
tiny-cuda-nn's, also off the unit sphere, where they are not homogeneous.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.encodings.elementwise import PointEncoding, PointKernels
from nrc_tracer.nn.encodings.encoding import rounded

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration


def first_coefficient(m: int) -> float:
    """The constant q_m^m."""
    value = math.sqrt((2 if m else 1) / (4.0 * math.pi))
    for k in range(1, m + 1):
        value *= -math.sqrt((2 * k + 1) / (2 * k))
    return value


def recurrence(band: int, m: int) -> tuple[float, float]:
    """a and b in q_l^m = a z q_(l-1)^m - b q_(l-2)^m, for bands l > m."""
    a = math.sqrt((4 * band * band - 1) / (band * band - m * m))
    return a, a * math.sqrt(((band - 1) ** 2 - m * m) / (4 * (band - 1) ** 2 - 1))


@cache
def spherical_harmonics_kernels(degree: int) -> PointKernels:
    """Kernels for bands 0 to degree - 1, unrolled, in a module of their own."""
    module = wp.get_module(f"nrc_tracer.nn.spherical_harmonics_{degree}")
    module.options["enable_backward"] = False

    @wp.func
    def direction(x: wp.array2d[float], i: int) -> wp.vec3:
        return wp.vec3(2.0 * x[i, 0] - 1.0, 2.0 * x[i, 1] - 1.0, 2.0 * x[i, 2] - 1.0)

    @wp.kernel(module=module, enable_backward=False)
    def forward(base: int, n: int, points: int, x: wp.array2d[float], out: wp.array2d[float]):
        """Values for a stretch of points."""
        begin = (base + wp.tid()) * points
        for i in range(begin, wp.min(begin + points, n)):
            v = direction(x, i)
            cosine = 1.0 + 0.0 * (v[0] + v[1] + v[2])  # NaN stays NaN
            sine = float(0.0)
            for m in range(wp.static(degree)):
                last = float(0.0)
                q = float(wp.static(first_coefficient(m)))
                for band in range(m, wp.static(degree)):
                    if wp.static(band > m):
                        following = (
                            wp.static(recurrence(band, m)[0] if band > m else 0.0) * v[2] * q
                            - wp.static(recurrence(band, m)[1] if band > m else 0.0) * last
                        )
                        last = q
                        q = following
                    out[i, wp.static(band * (band + 1) + m)] = q * cosine
                    if wp.static(m > 0):
                        out[i, wp.static(band * (band + 1) - m)] = q * sine
                turned = v[0] * cosine - v[1] * sine
                sine = v[0] * sine + v[1] * cosine
                cosine = turned

    @wp.kernel(module=module, enable_backward=False)
    def backward_input(
        base: int, n: int, points: int, x: wp.array2d[float], d_out: wp.array2d[float], d_x: wp.array2d[float]
    ):
        """Add the gradient with respect to the input for a stretch of points."""
        begin = (base + wp.tid()) * points
        for i in range(begin, wp.min(begin + points, n)):
            v = direction(x, i)
            gradient = wp.vec3(0.0)
            cosine = 1.0 + 0.0 * (v[0] + v[1] + v[2])  # NaN stays NaN
            sine = float(0.0)
            cosine_slope = float(0.0)  # m cos_(m-1): the derivative of cos_m along x and of sin_m along y
            sine_slope = float(0.0)  # m sin_(m-1): the derivative of sin_m along x, minus that of cos_m along y
            for m in range(wp.static(degree)):
                last = float(0.0)
                last_slope = float(0.0)
                q = float(wp.static(first_coefficient(m)))
                slope = float(0.0)
                d_cosine = float(0.0)
                d_sine = float(0.0)
                d_z = float(0.0)
                for band in range(m, wp.static(degree)):
                    if wp.static(band > m):
                        a = wp.static(recurrence(band, m)[0] if band > m else 0.0)
                        b = wp.static(recurrence(band, m)[1] if band > m else 0.0)
                        following = a * v[2] * q - b * last
                        following_slope = a * (q + v[2] * slope) - b * last_slope
                        last = q
                        last_slope = slope
                        q = following
                        slope = following_slope
                    d_value = d_out[i, wp.static(band * (band + 1) + m)]
                    d_cosine += d_value * q
                    d_z += d_value * slope * cosine
                    if wp.static(m > 0):
                        d_value = d_out[i, wp.static(band * (band + 1) - m)]
                        d_sine += d_value * q
                        d_z += d_value * slope * sine
                gradient += wp.vec3(
                    d_cosine * cosine_slope + d_sine * sine_slope, d_sine * cosine_slope - d_cosine * sine_slope, d_z
                )
                cosine_slope = wp.static(m + 1.0) * cosine
                sine_slope = wp.static(m + 1.0) * sine
                turned = v[0] * cosine - v[1] * sine
                sine = v[0] * sine + v[1] * cosine
                cosine = turned
            for d in range(3):
                d_x[i, d] = d_x[i, d] + 2.0 * gradient[d]

    return PointKernels(forward, backward_input)


class SphericalHarmonicsEncoding(PointEncoding):
    """The real spherical harmonics of bands below `degree` of the direction 2 x - 1; `degree`^2 outputs.

    Padding comes before the values. If a coordinate is NaN or infinite, all values are NaN.
    """

    padding_first = True

    def __init__(self, config: configuration.SphericalHarmonics, n_input_dims: int) -> None:
        if n_input_dims != 3:
            raise ConfigError(f"encoding: SphericalHarmonics takes 3 input dimensions, got {n_input_dims}")
        super().__init__(config, n_input_dims, config.degree**2)

    def values(self, x: Tensor, params: Tensor) -> Tensor:
        degree = self.config.degree
        exact = (x.detach().float() * 2.0 - 1.0).to(params.dtype)
        v = rounded(exact, 2.0, x)
        columns: list[Tensor] = [v.new_empty(0)] * degree**2
        cosine, sine = 1.0 + 0.0 * v.sum(dim=1), torch.zeros_like(v[:, 0])
        for m in range(degree):
            last, q = torch.zeros_like(v[:, 0]), torch.full_like(v[:, 0], first_coefficient(m))
            for band in range(m, degree):
                if band > m:
                    a, b = recurrence(band, m)
                    last, q = q, a * v[:, 2] * q - b * last
                columns[band * (band + 1) - m] = q * sine
                columns[band * (band + 1) + m] = q * cosine
            cosine, sine = v[:, 0] * cosine - v[:, 1] * sine, v[:, 0] * sine + v[:, 1] * cosine
        return torch.stack(columns, dim=1)

    @property
    def _kernels(self) -> PointKernels:
        return spherical_harmonics_kernels(self.config.degree)
