"""The grid as a torch function, with first and second derivatives.

A backward pass that is to be differentiated again (`create_graph=True`) runs with gradients enabled. The first derivatives are
then a torch function of their own, whose backward pass has kernels too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import NrcError
from nrc_tracer.nn.encodings.grid_launches import GridLaunches
from nrc_tracer.nn.gradients import GradientSink


class GridFunction(torch.autograd.Function):
    """The grid: `apply(x, params, grid, launcher)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, grid: GridLaunches, launcher: TorchLauncher) -> Tensor:
        ctx.save_for_backward(x, params)
        ctx.grid, ctx.launcher = grid, launcher
        out = x.new_empty(len(x), grid.layout.n_outputs)
        grid.forward(launcher, x, params, out)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, params = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        d_x, d_params = _GridGradient.apply(d_out, x, params, ctx.grid, ctx.launcher, needs)
        return d_x if needs[0] else None, d_params if needs[1] else None, None, None


class _GridGradient(torch.autograd.Function):
    """The gradients of the grid as a torch function: `apply(d_out, x, params, grid, launcher, needs)`."""

    @staticmethod
    def forward(
        ctx: Any,
        d_out: Tensor,
        x: Tensor,
        params: Tensor,
        grid: GridLaunches,
        launcher: TorchLauncher,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.set_materialize_grads(False)
        d_out = d_out.contiguous()
        ctx.save_for_backward(d_out, x, params)
        ctx.grid, ctx.launcher = grid, launcher
        d_x = d_params = None
        if needs[0]:
            d_x = torch.zeros_like(x)
            grid.backward_input(launcher, x, params, d_out, d_x)
        if needs[1]:
            d_params = grid.zero_gradient(launcher)
            grid.backward_params(launcher, x, d_out, GradientSink(d_params))
        return d_x, d_params

    @staticmethod
    def backward(ctx: Any, dd_x: Tensor | None, dd_params: Tensor | None) -> tuple[Tensor | None, ...]:
        d_out, x, params = ctx.saved_tensors
        with torch.no_grad():
            found = _GridGradient._backward(ctx, dd_x, dd_params, d_out, x, params)
        if torch.is_grad_enabled():
            found = tuple(_Last.apply(value, d_out, x, params, dd_x, dd_params) for value in found)
        return *found, None, None, None

    @staticmethod
    def _backward(
        ctx: Any, dd_x: Tensor | None, dd_params: Tensor | None, d_out: Tensor, x: Tensor, params: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The gradients of d_x . dd_x + d_t . dd_t, where y = y(x, t), d_x = (dy/dx)^T d_out and d_t = (dy/dt)^T d_out."""
        grid, launcher = ctx.grid, ctx.launcher
        needs_out, needs_x, needs_params = ctx.needs_input_grad[:3]
        dd_out = torch.zeros_like(d_out) if needs_out else None
        d_x = torch.zeros_like(x) if needs_x else None
        d_params = torch.zeros_like(params) if needs_params else None
        if dd_x is not None:
            dd_x = dd_x.contiguous()
            if dd_out is not None:
                grid.tangent(launcher, x, params, dd_x, dd_out)
            if d_params is not None:
                grid.backward_params(launcher, x, d_out, GradientSink(d_params), direction=dd_x)
            if d_x is not None:
                grid.backward_backward_input(launcher, x, params, d_out, dd_x, d_x)
        if dd_params is not None:
            # d_t . dd_t is the encoding of x with the parameters dd_t, times d_out
            dd_params = dd_params.contiguous()
            if dd_out is not None:
                values = torch.empty_like(d_out)
                grid.forward(launcher, x, dd_params, values)
                dd_out += values
            if d_x is not None:
                grid.backward_input(launcher, x, dd_params, d_out, d_x)
        return dd_out, d_x, d_params


class _Last(torch.autograd.Function):
    """A second derivative of the grid, which cannot be differentiated again: `apply(value, *sources)`."""

    @staticmethod
    def forward(ctx: Any, value: Tensor | None, *sources: Tensor | None) -> Tensor | None:
        return None if value is None else value.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        raise NrcError(
            'third derivatives of a grid are not available, only first and second ones; use backend="reference"'
        )
