"""Identity: the inputs, scaled and shifted."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.nn.encodings.elementwise import ElementwiseEncoding, PointKernels, as_float32, elementwise_kernels
from nrc_tracer.nn.encodings.grid_cells import fma

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration


@cache
def identity_kernels(scale: float, offset: float) -> PointKernels:
    """Kernels for a scale and an offset, both float32 values."""

    @wp.func
    def encode(x: float, out: wp.array2d[float], i: int, column: int):
        out[i, column] = fma(wp.static(scale), x, wp.static(offset))

    @wp.func
    def gradient(x: float, d_out: wp.array2d[float], i: int, column: int) -> float:
        return wp.static(scale) * d_out[i, column]

    return elementwise_kernels(f"identity_{scale}_{offset}", 1, encode, gradient)


class IdentityEncoding(ElementwiseEncoding):
    """`scale` * x + `offset`, with scale and offset rounded to float32."""

    def __init__(self, config: configuration.Identity, n_input_dims: int) -> None:
        super().__init__(config, n_input_dims, 1)
        self.scale = float(np.float32(config.scale))
        self.offset = float(np.float32(config.offset))

    def columns(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return self.scale * as_float32(x, dtype) + self.offset

    @property
    def _kernels(self) -> PointKernels:
        return identity_kernels(self.scale, self.offset)
