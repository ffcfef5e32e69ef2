"""The default backend: encodings as Warp kernels on CPU and CUDA, networks as blocks of matrix products through torch.

On the CPU, encoding and network are one kernel where that is faster: `nrc_tracer.nn.fused_cpu`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nrc_tracer.device.torch_launcher import TorchLauncher, single_threaded_torch
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.backends.backend import Backend, Evaluate
from nrc_tracer.nn.blocked_mlp import BlockedMlp
from nrc_tracer.nn.encodings.grid import grids
from nrc_tracer.nn.encodings.grid_layout import GridLayout
from nrc_tracer.nn.fused.features import FusedGrid, Inputs
from nrc_tracer.nn.fused.network import FusedMlp
from nrc_tracer.nn.fused_cpu.choice import Choice
from nrc_tracer.nn.fused_cpu.model import FusedModel
from nrc_tracer.nn.gradient_memory import GradientMemory
from nrc_tracer.nn.gradients import Gradient, GradientSink, ListedGrid
from nrc_tracer.nn.mlp import Mlp
from nrc_tracer.nn.network_runner import NetworkRunner
from nrc_tracer.nn.optimizers.optimizer import Optimizer
from nrc_tracer.nn.radiance_field import RadianceField
from nrc_tracer.nn.radiance_field_networks import RadianceFieldNetworks
from nrc_tracer.nn.regions import Regions
from nrc_tracer.nn.structure import Structure

CHUNK = 1 << 17
"""Rows per inference pass: their features take tens of megabytes."""

FUSED_CHUNK = 1 << 19
"""Rows per inference pass of fused kernels, where few features or none pass through memory."""


class WarpBackend(Backend):
    """Runs a model by Warp kernels and blocked matrix products.

    Args:
        structure: Encoding and network.
        launcher: The launcher of the device that it runs on.
        precision: Type of matrix products' operands: float32, bfloat16 or float16. All other numbers are float32.
        deterministic: Sum gradients of grids as integers, so that a GPU gives the same bits every time; slower.
        fused: Run encoding and network in one kernel, in float16; for a radiance field one kernel per network, without its
            encoding. **It has never run on a GPU.** On the CPU the instructions of a GPU are emulated, for tests only.
        choice: The form of the kernels on the CPU; blocks of matrix products unless given.
        name: `warp`, or `blocked` if that backend was requested.

    Attributes:
        choice: The form of the kernels on the CPU, and the reason for it.
        params_shape: Shape of the flat parameters.

    Raises:
        ConfigError: The network cannot be fused.
    """

    def __init__(
        self,
        structure: Structure,
        launcher: TorchLauncher,
        precision: torch.dtype,
        *,
        deterministic: bool = False,
        fused: bool = False,
        choice: Choice | None = None,
        name: str = "warp",
    ) -> None:
        super().__init__(structure, launcher.torch_device, precision)
        self.name = name
        self.choice = choice or Choice("blocked", precision, "the only form there is")
        self.launcher = launcher
        self.deterministic = deterministic
        self.network: NetworkRunner | None = None
        self._field: RadianceFieldNetworks | None = None
        self.fused: FusedMlp | None = None
        if fused and (structure.mlp is None or precision != torch.float16):
            raise ConfigError("fused: needs a model with a network and precision float16; leave fused=True out")

        def runner(mlp: Mlp) -> NetworkRunner:
            return FusedMlp(mlp, launcher) if fused else BlockedMlp(mlp, launcher, precision)

        if isinstance(structure.mlp, RadianceField):
            field = structure.mlp
            self.network = self._field = RadianceFieldNetworks(field, runner(field.density), runner(field.rgb))
        elif structure.mlp is not None:
            self.network = runner(structure.mlp)
            if fused:
                self.fused = FusedMlp(structure.mlp, launcher, FusedGrid.of(structure.encoding, structure.width))
        self.fused_cpu = FusedModel(structure, launcher) if self.choice.form == "fused" else None
        self.params_shape = torch.Size((structure.n_params,))
        self.gradient_memory = GradientMemory(structure.n_params, launcher)
        self.derivatives_lock = threading.Lock()
        self._flat: Tensor | None = None
        self._listed: list[ListedGrid] | None = None
        self._regions: dict[GridLayout, Regions] = {}

    def encode(self, x: Tensor, params: Tensor) -> Tensor:
        """The padded output of the encoding, float32 [N, width]; `params` are all parameters of the model."""
        features = x.new_empty(len(x), self.structure.width)
        self.structure.encoding.forward(self.launcher, x, self.structure.split(params)[1], features)
        return features

    def infer(self, x: Tensor, params: Tensor, *, count: Tensor | None = None) -> Tensor:
        if self.fused_cpu is not None:
            return self.fused_cpu.infer(x, params)
        params = params.detach()
        out = x.new_empty(len(x), self.structure.n_output_dims)
        with single_threaded_torch(self.launcher), torch.no_grad():
            if self.network is None:
                self.structure.encoding.forward(self.launcher, x, params, out)
                return out
            weights = self.structure.split(params)[0]
            size = FUSED_CHUNK if self.fused else CHUNK
            for begin in range(0, len(x), size):
                piece = x[begin : begin + size]
                if self.fused:
                    left = None if count is None else count - begin
                    y = self.fused.infer(self._fused_inputs(self.fused, piece, params), weights, count=left)
                else:
                    y = self.network.infer(self.encode(piece, params), weights)
                out[begin : begin + size] = y[:, : self.structure.n_output_dims]
        return out

    def _fused_inputs(self, fused: FusedMlp, x: Tensor, params: Tensor) -> Inputs:
        if fused.grid is None:
            return Inputs(self.encode(x, params))
        return fused.grid.encode(self.launcher, x, self.structure.split(params)[1])

    def density(self, x: Tensor, params: Tensor) -> Tensor:
        encoding, own, weights = self.structure.density_parts(params.detach())
        if self.fused_cpu is not None:
            return self.fused_cpu.density(x, params.detach())
        assert self._field is not None  # else the line above has raised an error
        out = x.new_empty(len(x))
        with single_threaded_torch(self.launcher), torch.no_grad():
            for begin in range(0, len(x), CHUNK):
                piece = x[begin : begin + CHUNK]
                features = x.new_empty(len(piece), self._field.mlp.position_width)
                encoding.forward(self.launcher, piece, own, features)
                out[begin : begin + CHUNK] = self._field.density.infer(features, weights)[:, 0]
        return out

    def differentiable(self, x: Tensor, params: Tensor) -> Tensor:
        if self.fused_cpu is None:
            return self.blocked(x, params)
        return _FusedFunction.apply(x, params, self, self.fused_cpu)

    def blocked(self, x: Tensor, params: Tensor) -> Tensor:
        """`differentiable` by blocks of matrix products."""
        weights, own = self.structure.split(params)
        features = self.structure.encoding.differentiable(self.launcher, x, own, self.structure.width)
        if self.network is None:
            return features
        return _NetworkFunction.apply(features, weights, self.network)[:, : self.structure.n_output_dims]

    def gradient(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, *, loss_scale: float = 1.0
    ) -> tuple[Tensor, Gradient | None]:
        params = params.detach()
        with single_threaded_torch(self.launcher), torch.no_grad():
            if self.fused_cpu is not None and len(x):
                return self._fused_cpu_gradient(self.fused_cpu, x, params, evaluate, loss_scale)
            if self.fused:
                return self._fused_gradient(x, params, evaluate, loss_scale)
            return self._gradient(x, params, evaluate, loss_scale)

    def _gradient(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, loss_scale: float
    ) -> tuple[Tensor, Gradient | None]:
        structure = self.structure
        weights, own = structure.split(params)
        flat = self._flat_gradient()
        features = self.encode(x, params)
        d_features: Tensor | None
        if self.network is None:
            loss, d_features = evaluate(features)
            d_features = d_features.contiguous()
            # Cross entropy ignores NaN where the target is zero
            loss = torch.where(torch.isfinite(features.sum()), loss, torch.nan)
        else:
            y, kept = self.network.forward(features, weights)
            loss, d_y = evaluate(y[:, : structure.n_output_dims])
            padded = torch.zeros_like(y)
            torch.mul(d_y, loss_scale, out=padded[:, : structure.n_output_dims])
            d_weights = flat[: structure.n_matrix_params]
            need_input = structure.encoding.n_params > 0
            d_features = self.network.backward(padded, kept, weights, d_weights, need_input=need_input)
            if loss_scale != 1.0:
                d_weights /= loss_scale
                if d_features is not None:
                    d_features /= loss_scale

        # No sum of weighted gradients exceeds the sum of their magnitudes: if that is finite, all of them will be
        magnitude = loss.abs() + flat[: structure.n_matrix_params].abs().sum()
        if d_features is not None:
            magnitude = magnitude + d_features.abs().sum()
        if not torch.isfinite(magnitude):
            return loss, None

        if structure.encoding.n_params and d_features is not None:
            for grid in self._listed or []:
                grid.regions.begin_step()
            if self._listed is None:
                flat[structure.n_matrix_params :] = 0.0
            values = flat[structure.n_matrix_params :]
            sink = GradientSink(values, self._regions, deterministic=self.deterministic or None)
            structure.encoding.backward_params(self.launcher, x, own, d_features, sink)
        return loss, Gradient(flat, structure.n_matrix_params, self._listed)

    def step(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, optimizer: Optimizer, *, loss_scale: float = 1.0
    ) -> tuple[Tensor, bool]:
        if self.fused_cpu is not None and len(x) and loss_scale == 1.0:
            done = self.steps([(x, evaluate)], params, optimizer)
            if done is not None:
                return done[0]
        return super().step(x, params, evaluate, optimizer, loss_scale=loss_scale)

    def steps(
        self, batches: Sequence[tuple[Tensor, Evaluate]], params: Tensor, optimizer: Optimizer
    ) -> list[tuple[Tensor, bool]] | None:
        if self.fused_cpu is None:
            return None
        with torch.no_grad():
            return self.fused_cpu.steps(batches, params, optimizer)

    def _fused_cpu_gradient(
        self, fused: FusedModel, x: Tensor, params: Tensor, evaluate: Evaluate, loss_scale: float
    ) -> tuple[Tensor, Gradient | None]:
        flat, n_weights = self._flat_gradient(), self.structure.n_matrix_params
        loss, d_features = fused.gradient(x, params, evaluate, loss_scale, flat[:n_weights])
        if d_features is None:
            return loss, None
        for grid in self._listed or []:
            grid.regions.begin_step()
        fused.add_up_grids(x, params, d_features, GradientSink(flat, self._regions))
        return loss, Gradient(flat, n_weights, self._listed)

    def _fused_gradient(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, loss_scale: float
    ) -> tuple[Tensor, Gradient | None]:
        self.clear_gradient()
        loss, flat, magnitude = self.fused_sums(x, params, evaluate, loss_scale, unscale=1.0 / loss_scale)
        if not torch.isfinite(magnitude):
            return loss, None
        return loss, Gradient(flat, self.structure.n_matrix_params)

    def clear_gradient(self) -> None:
        """Set the gradient of the encoding to zero, as `fused_sums` requires."""
        self.structure.split(self._flat_gradient())[1].zero_()

    @torch.no_grad()
    def fused_sums(
        self,
        x: Tensor,
        params: Tensor,
        evaluate: Evaluate,
        loss_scale: float | Tensor,
        *,
        unscale: float = 1.0,
        packed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`gradient` of a fused model, without waiting for the device.

        Args:
            x: See `gradient`.
            params: See `gradient`.
            evaluate: See `gradient`.
            loss_scale: Factor of the loss in the backward pass.
            unscale: Factor of the gradient after that.
            packed: The network's weights as halfs, if `FusedMlp.pack` has made them already.

        Returns:
            The loss, 0-d; the gradient [n_params], in memory that is reused, where the encoding's part is **added to the previous
            contents**; and a number that is finite if and only if all gradients are, 0-d.
        """
        structure, fused = self.structure, self.fused
        if fused is None:
            raise ConfigError("fused: this model was not made with fused=True")
        params = params.detach()
        weights, own = structure.split(params)
        flat = self._flat_gradient()
        d_weights, d_own = structure.split(flat)
        y, kept = fused.forward(self._fused_inputs(fused, x, params), weights if packed is None else packed)
        loss, d_y = evaluate(y)

        # Atomics inside the kernel give sums whose last bits vary
        sink = GradientSink(d_own, self._regions, deterministic=self.deterministic or None)
        grid = None if sink.deterministic else fused.grid
        rest = structure.encoding.n_params > 0 and not (grid and grid.alone)
        d_features = fused.backward(
            d_y * loss_scale,
            kept,
            weights,
            d_weights,
            need_input=rest,
            d_table=d_own[grid.own] if grid else None,
            unscale=unscale,
        )
        if rest and d_features is not None:
            d_features *= unscale
            if grid:
                grid.backward_others(self.launcher, x, own, d_features, sink)
            else:
                structure.encoding.backward_params(self.launcher, x, own, d_features, sink)
        # No sum of weighted gradients exceeds the sum of their magnitudes: if that is finite, all of them will be
        return loss, flat, loss.abs() + d_weights.abs().sum() + fused.magnitude

    def _flat_gradient(self) -> Tensor:
        """The memory of the gradient; on the CPU also lists of touched entries for every grid."""
        if self._flat is None:
            # Not set to zero: parts that lists replace are never written, and then take no memory
            self._flat = torch.empty(self.structure.n_params, device=self.device)
            if not self.launcher.device.is_cuda and not self.deterministic and not self.fused:
                self._listed = []
                for grid, begin in grids(self.structure.encoding, self.structure.n_matrix_params):
                    regions = Regions(grid.layout, self.launcher.device, self.launcher.threads, listed=True)
                    self._regions[grid.layout] = regions
                    self._listed.append(ListedGrid(begin, regions))
        return self._flat


class _FusedFunction(torch.autograd.Function):
    """A model fused on the CPU as a torch function, `apply(x, params, backend, fused)`.

    Second derivatives are those of the blocked form.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, backend: WarpBackend, fused: FusedModel) -> Tensor:
        ctx.save_for_backward(x, params)
        ctx.backend = backend
        y, ctx.kept = fused.infer_for_derivatives(x, params)
        return y

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, params = ctx.saved_tensors
        needs_x, needs_params, *_ = ctx.needs_input_grad
        backend: WarpBackend = ctx.backend
        if backend.fused_cpu is not None and not torch.is_grad_enabled():
            with backend.derivatives_lock:
                # The kernels add to the gradients of grids, and write those of weights
                has_grids = backend.structure.encoding.n_params > 0
                make = backend.gradient_memory.zeros if has_grids else partial(torch.empty_like, params)
                d_params = make() if needs_params else None
                d_x = backend.fused_cpu.derivatives(
                    x, params, d_out, need_input=needs_x, d_params=d_params, kept=ctx.kept
                )
            return d_x, d_params, None, None
        y = backend.blocked(x, params)
        wanted = [tensor for tensor, need in ((x, needs_x), (params, needs_params)) if need]
        gradients = iter(torch.autograd.grad(y, wanted, d_out, create_graph=True))
        return next(gradients) if needs_x else None, next(gradients) if needs_params else None, None, None


class _NetworkFunction(torch.autograd.Function):
    """A network as a torch function, `apply(x, params, network)`; second derivatives by plain torch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, network: NetworkRunner) -> Tensor:
        ctx.save_for_backward(x, params)
        ctx.network = network
        with single_threaded_torch(network.launcher), torch.autocast(x.device.type, enabled=False):
            out, ctx.kept = network.forward(x, params)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        # The network sets the precision of products, not the caller's autocast
        with torch.autocast(d_out.device.type, enabled=False):
            return *_NetworkFunction._backward(ctx, d_out), None

    @staticmethod
    def _backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, params = ctx.saved_tensors
        network: NetworkRunner = ctx.network
        needs_x, needs_params = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            y = network.mlp.reference(x, params)[:, : d_out.shape[1]]
            sources = [tensor for tensor, need in ((x, needs_x), (params, needs_params)) if need]
            found = iter(torch.autograd.grad(y, sources, d_out, create_graph=True))
            return next(found) if needs_x else None, next(found) if needs_params else None
        d_params = torch.empty_like(params)
        with single_threaded_torch(network.launcher):
            d_x = network.backward(d_out.contiguous(), ctx.kept, params, d_params, need_input=needs_x)
        return d_x, d_params if needs_params else None
