"""Encodings without parameters: launches over stretches of points, and kernels that encode each input column alone.

Kernels are compiled for a fixed number of outputs: on the CPU, Warp's loops take two to three times as long if not unrolled.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.launch import Launcher
from nrc_tracer.nn.encodings.encoding import Encoding, rounded

if TYPE_CHECKING:
    from nrc_tracer.device.torch_launcher import TorchLauncher
    from nrc_tracer.nn import config as configuration

POINTS_PER_ITEM = 512
"""Number of points per item of a kernel on the CPU."""


@dataclass(frozen=True)
class PointKernels:
    """The kernels of an encoding without parameters.

    Both take `base`, the number of points `n`, the number of points per item, and the inputs [n, n_input_dims].

    Attributes:
        forward: Writes the values into its last argument [n, n_output_dims].
        backward_input: Takes the gradient of the values, and adds the gradient of the inputs to its last argument.
    """

    forward: wp.Kernel
    backward_input: wp.Kernel


class PointEncoding(Encoding):
    """An encoding without parameters, run by `PointKernels`."""

    @property
    @abstractmethod
    def _kernels(self) -> PointKernels: ...

    def differentiable(self, launcher: TorchLauncher, x: Tensor, params: Tensor, width: int) -> Tensor:
        return self._padded(PointFunction.apply(x, params, self, launcher), width)

    def _forward(self, launcher: Launcher, x: Tensor, params: Tensor, values: Tensor) -> None:
        self._run(launcher, self._kernels.forward, [x, values])

    def _backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, d_x: Tensor) -> None:
        self._run(launcher, self._kernels.backward_input, [x, d_values, d_x])

    def _run(self, launcher: Launcher, kernel: wp.Kernel, tensors: list[Tensor]) -> None:
        n = len(tensors[0])
        points = 1 if launcher.device.is_cuda else POINTS_PER_ITEM
        arrays = [as_warp(tensor) for tensor in tensors]
        launcher.run(kernel, -(-n // points), lambda base: [base, n, points, *arrays])


class PointFunction(torch.autograd.Function):
    """An encoding without parameters as a torch function: `apply(x, params, encoding, launcher)`.

    A backward pass that is to be differentiated again (`create_graph=True`) runs with gradients enabled: it goes through the
    definition in torch, which can be differentiated any number of times.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, encoding: PointEncoding, launcher: TorchLauncher) -> Tensor:
        ctx.save_for_backward(x, params)
        ctx.encoding, ctx.launcher = encoding, launcher
        out = x.new_empty(len(x), encoding.n_output_dims)
        encoding.forward(launcher, x, params, out)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        x, params = ctx.saved_tensors
        if torch.is_grad_enabled():
            values = ctx.encoding.values(x, params)
            (d_x,) = torch.autograd.grad(values, x, d_out, create_graph=True)
        else:
            d_x = torch.zeros_like(x)
            ctx.encoding.backward_input(ctx.launcher, x, params, d_out.contiguous(), d_x)
        return d_x, None, None, None


class ElementwiseEncoding(PointEncoding):
    """An encoding that maps each input column to `fan_out` output columns, side by side."""

    def __init__(self, config: configuration.Encoding, n_input_dims: int, fan_out: int) -> None:
        super().__init__(config, n_input_dims, n_input_dims * fan_out)

    @abstractmethod
    def columns(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The definition: outputs [N, n_input_dims, fan_out] for inputs [N, n_input_dims, 1], in precision `dtype`."""

    def values(self, x: Tensor, params: Tensor) -> Tensor:
        return self.columns(x[:, :, None], params.dtype).reshape(len(x), self.n_output_dims)


def as_float32(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Inputs rounded to float32, as the kernels take them, but in another dtype; derivatives pass through."""
    return rounded(x.detach().float().to(dtype), 1.0, x)


def elementwise_kernels(name: str, fan_out: int, encode: wp.Function, gradient: wp.Function) -> PointKernels:
    """The kernels of an elementwise encoding.

    Args:
        name: Name of the Warp module that they are compiled in.
        fan_out: Number of output columns per input column.
        encode: Warp function `(x, out, i, column)` that writes the outputs for x into row i of `out`, from `column` on.
        gradient: Warp function `(x, d_out, i, column)` that returns the gradient with respect to x.
    """
    module = wp.get_module(f"nrc_tracer.nn.{name}")
    module.options["enable_backward"] = False

    @wp.kernel(module=module, enable_backward=False)
    def forward(base: int, n: int, points: int, x: wp.array2d[float], out: wp.array2d[float]):
        """Values for a stretch of points."""
        begin = (base + wp.tid()) * points
        for i in range(begin, wp.min(begin + points, n)):
            for d in range(x.shape[1]):
                encode(x[i, d], out, i, d * wp.static(fan_out))

    @wp.kernel(module=module, enable_backward=False)
    def backward_input(
        base: int, n: int, points: int, x: wp.array2d[float], d_out: wp.array2d[float], d_x: wp.array2d[float]
    ):
        """Add the gradient with respect to the input for a stretch of points."""
        begin = (base + wp.tid()) * points
        for i in range(begin, wp.min(begin + points, n)):
            for d in range(x.shape[1]):
                d_x[i, d] = d_x[i, d] + gradient(x[i, d], d_out, i, d * wp.static(fan_out))

    return PointKernels(forward, backward_input)
