"""OneBlob: a kernel centred at the input and integrated over bins.

Mueller, McWilliams, Rousselle, Gross, Novak, *Neural Importance Sampling* (2019), section 4.3, with tiny-cuda-nn's quartic
kernel 15/16 (1 - u^2)^2 in place of the Gaussian.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.nn.encodings.elementwise import ElementwiseEncoding, PointKernels, as_float32, elementwise_kernels

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration


@wp.func
def quartic(u: float) -> float:
    """The kernel for |u| <= 1."""
    w = 1.0 - u * u
    return 0.9375 * w * w


@wp.func
def quartic_cdf(u: float) -> float:
    """The integral of the kernel from -1 to u, for |u| <= 1."""
    s = u * u
    return 0.5 + 0.9375 * u * (1.0 - s * (0.6666667 - 0.2 * s))


@cache
def one_blob_kernels(n_bins: int) -> PointKernels:
    """Kernels for `n_bins` bins, a power of two.

    The blob has a radius of one bin, so it covers three bins at most: that of x and its two neighbours.
    """

    @wp.func
    def bin_of(x: float) -> int:
        """The bin of x, also outside of [0, 1]; for x far outside or NaN a bin that is never written."""
        t = x * wp.static(float(n_bins))
        return wp.where(wp.abs(t) < wp.static(4.0 * n_bins), int(wp.floor(t)), wp.static(-4 * n_bins))

    @wp.func
    def wrapped(j: int) -> int:
        """The bin of [0, 1] that a bin wraps around to, if it lies in [-1, 2]; else -1."""
        return wp.where(j >= wp.static(-n_bins) and j < wp.static(2 * n_bins), j & wp.static(n_bins - 1), -1)

    @wp.func
    def encode(x: float, out: wp.array2d[float], i: int, column: int):
        t = x * wp.static(float(n_bins))
        f = t - wp.floor(t)
        before = quartic_cdf(-f)
        after = quartic_cdf(f - 1.0)
        around = 1.0 - before - after
        j = bin_of(x)
        left = wrapped(j - 1)
        middle = wrapped(j)
        right = wrapped(j + 1)
        nothing = 0.0 * x  # NaN stays NaN
        for k in range(wp.static(n_bins)):
            value = nothing + wp.where(k == left, before, 0.0)
            value += wp.where(k == middle, around, 0.0)
            value += wp.where(k == right, after, 0.0)
            out[i, column + k] = value

    @wp.func
    def gradient(x: float, d_out: wp.array2d[float], i: int, column: int) -> float:
        t = x * wp.static(float(n_bins))
        f = t - wp.floor(t)
        before = quartic(f)
        after = quartic(1.0 - f)
        j = bin_of(x)
        result = 0.0 * x  # NaN stays NaN
        left = wrapped(j - 1)
        if left >= 0:
            result -= before * d_out[i, column + left]
        middle = wrapped(j)
        if middle >= 0:
            result += (before - after) * d_out[i, column + middle]
        right = wrapped(j + 1)
        if right >= 0:
            result += after * d_out[i, column + right]
        return result * wp.static(float(n_bins))

    return elementwise_kernels(f"one_blob_{n_bins}", n_bins, encode, gradient)


class OneBlobEncoding(ElementwiseEncoding):
    """The integrals of a quartic blob with a radius of one bin over `n_bins` bins of [0, 1].

    The blob wraps around: there are copies of it at a distance of 1 on both sides, so what leaves the interval at one end enters
    it at the other. Inputs far outside of [-1, 2] give zeros; NaN and infinities give NaN.
    """

    def __init__(self, config: configuration.OneBlob, n_input_dims: int) -> None:
        super().__init__(config, n_input_dims, config.n_bins)

    def columns(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        n_bins = self.config.n_bins
        boundaries = torch.arange(n_bins + 1, dtype=dtype, device=x.device)
        t = as_float32(x, dtype) * n_bins
        integral = 0.0 * t
        for copy in (-n_bins, 0, n_bins):
            u = ((boundaries - copy) - t).clamp(-1.0, 1.0)
            integral = integral + (15 / 16) * u * (1.0 - (2 / 3) * u**2 + (1 / 5) * u**4)
        return integral.diff(dim=2)

    @property
    def _kernels(self) -> PointKernels:
        return one_blob_kernels(self.config.n_bins)
