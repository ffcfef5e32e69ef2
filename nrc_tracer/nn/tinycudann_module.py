"""The base of the modules of `nrc_tracer.nn.tinycudann`: parameters, a backend per device, and autograd."""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.device.arrays import ArrayError, as_rows
from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.backends.warp import WarpBackend
from nrc_tracer.nn.fused_cpu.choice import VARIABLE, Choice, choose_form
from nrc_tracer.nn.fused_cpu.program import is_fusible
from nrc_tracer.nn.mlp import ALIGNMENT
from nrc_tracer.nn.precision import choose_precision
from nrc_tracer.nn.structure import Structure

HALF_LOSS_SCALE = 128.0
"""Factor of gradients inside modules of dtype float16, as in tiny-cuda-nn."""


class NativeModule:
    """The attribute `native_tcnn_module` of a module, which is its compiled part in tiny-cuda-nn.

    Attributes:
        structure: The encoding and the network.
        jit_fusion: The value that was set; it has no effect.
    """

    def __init__(self, structure: Structure, dtype: torch.dtype) -> None:
        self.structure = structure
        self.jit_fusion = False
        self._dtype = dtype

    def n_input_dims(self) -> int:
        """Input columns."""
        return self.structure.n_input_dims

    def n_output_dims(self) -> int:
        """Output columns; with a network those of its last matrix, with padding."""
        width = self.structure.n_output_dims
        return width if self.structure.mlp is None else -(-width // ALIGNMENT) * ALIGNMENT

    def n_params(self) -> int:
        """Number of parameters."""
        return self.structure.n_params

    def param_precision(self) -> torch.dtype:
        """The module's dtype."""
        return self._dtype

    def output_precision(self) -> torch.dtype:
        """The module's dtype."""
        return self._dtype

    def hyperparams(self) -> dict[str, Any]:
        """The configuration with all its keys."""
        encoding = configuration.to_json(self.structure.encoding.config)
        if self.structure.mlp is None:
            return encoding
        network = configuration.to_json(self.structure.mlp.config)
        return {"otype": "NetworkWithInputEncoding", "encoding": encoding, "network": network}

    def name(self) -> str:
        """The `otype` in `hyperparams`."""
        return self.hyperparams()["otype"]

    def initial_params(self, seed: int) -> Tensor:
        """The initial parameters, float32 [n_params], on the CPU."""
        return self.structure.initial_params(seed)


class Module(torch.nn.Module):
    """Base of the three modules: a function from [N, n_input_dims] to [N, n_output_dims] with flat parameters.

    Inputs of any float type are converted to float32. Outputs can be differentiated twice with respect to parameters and inputs.

    Attributes:
        n_input_dims: Input columns.
        n_output_dims: Output columns.
        params: Flat parameters, float32 [n_params], those of the network first; they may be changed in place.
        dtype: Type of the outputs. With `torch.float32`, operands of matrix products are float32. With `torch.float16`, they are
            float16 on CUDA, and on the CPU bfloat16 or float32, whichever is faster: float16 takes forty times as long there.
        seed: Seed of the initial parameters.
        loss_scale: Factor of gradients inside float16 products, so that small ones are not lost; it is removed from results.
        native_tcnn_module: Parameter counts and configuration.

    Raises:
        ConfigError: The configuration cannot be read, or does not fit the dimensions.
    """

    def __init__(
        self,
        n_input_dims: int,
        n_output_dims: int | None,
        encoding: configuration.Encoding,
        network: configuration.Network | configuration.RadianceField | None,
        *,
        seed: int = 1337,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        device = find_torch_device(None)
        self.seed = seed
        self.dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
        self.loss_scale = HALF_LOSS_SCALE if self.dtype == torch.float16 else 1.0
        self._parts = (encoding, network)
        structure = Structure(_integer(n_input_dims), _integer(n_output_dims), encoding, network)
        self.n_input_dims = structure.n_input_dims
        self.n_output_dims = structure.n_output_dims
        self.native_tcnn_module = NativeModule(structure, self.dtype)
        self.params = torch.nn.Parameter(structure.initial_params(int(seed)).to(device))
        self._backend: tuple[torch.device, int, WarpBackend] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The output, `dtype` [N, n_output_dims], for x, any float type [N, n_input_dims].

        Raises:
            ArrayError: x has another type or shape, or `params` no longer has its shape.
            DeviceError: The parameters are on a device that is neither a CPU nor a CUDA GPU.

        Warns:
            UserWarning: x is on another device than the parameters, and had to be copied.
        """
        if torch.compiler.is_compiling():
            # The kernels are not torch's: torch.compile calls them as they are
            return torch.compiler.disable(self._evaluate)(x)
        return self._evaluate(x)

    def _evaluate(self, x: Tensor) -> Tensor:
        params: Tensor = self.params
        backend = self._backend_for(params)
        x = self._rows(x, backend.device)
        if params.shape != backend.params_shape:
            raise ArrayError(f"params: expected shape {list(backend.params_shape)}, got {list(params.shape)}")
        if params.dtype is not torch.float32 or not params.is_contiguous():
            params = params.float().contiguous()
        if backend.fused_cpu is not None:
            # Kernels alone, with nothing that autocast would change
            needed = torch.is_grad_enabled() and (x.requires_grad or params.requires_grad)
            y = backend.differentiable(x, params) if needed else backend.infer(x, params)
            return y if self.dtype is torch.float32 else y.to(self.dtype)

        # The module sets the precision of products, not the caller's autocast
        with torch.autocast(backend.device.type, enabled=False):
            if not (torch.is_grad_enabled() and (x.requires_grad or params.requires_grad)):
                y = backend.infer(x, params)
            elif backend.structure.mlp is not None and backend.precision == torch.float16:
                unscale = 1.0 / self.loss_scale
                y = backend.differentiable(_scale_gradient(x, unscale), _scale_gradient(params, unscale))
                y = _scale_gradient(y, self.loss_scale)
            else:
                y = backend.differentiable(x, params)
        return y.to(self.dtype)

    def _rows(self, x: Tensor, device: torch.device) -> Tensor:
        if type(x) is Tensor and x.dtype is torch.float32 and x.device == device and x.is_contiguous():
            shape = x.shape
            if len(shape) == 2 and shape[1] == self.n_input_dims:
                return x
        elif not isinstance(x, Tensor) or not x.is_floating_point():
            kind = str(x.dtype).removeprefix("torch.") if isinstance(x, Tensor) else type(x).__name__
            raise ArrayError(f"x: expected a torch tensor of floats [N, {self.n_input_dims}], got {kind}")
        if x.device != device:
            warnings.warn(
                f"the input is on {x.device}, the module on {device}: copying it every time is slow", stacklevel=5
            )
            x = x.to(device)
        return as_rows(x.float(), self.n_input_dims, device, "x")

    def _backend_for(self, params: Tensor) -> WarpBackend:
        """The backend for the parameters' device and this process."""
        process, made = os.getpid(), self._backend
        if made is not None and made[0] == params.device and made[1] == process:
            return made[2]
        device = find_torch_device(params.device)
        structure, launcher = self.native_tcnn_module.structure, _launcher(device, process)
        choice = _choose(structure, self.dtype, device)
        backend = WarpBackend(structure, launcher, choice.precision, choice=choice)
        self._backend = params.device, process, backend
        return backend

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["native_tcnn_module"]  # holds kernels and arrays: made again when unpickled
        state["_backend"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        structure = Structure(self.n_input_dims, self.n_output_dims, *self._parts)
        self.native_tcnn_module = NativeModule(structure, self.dtype)

    def extra_repr(self) -> str:
        return (
            f"n_input_dims={self.n_input_dims}, n_output_dims={self.n_output_dims}, seed={self.seed}, "
            f"dtype={self.dtype}, hyperparams={self.native_tcnn_module.hyperparams()}"
        )

    @property
    def jit_fusion(self) -> bool:
        """The setting for fusion by a run-time compiler; it has no effect here."""
        return self.native_tcnn_module.jit_fusion

    @jit_fusion.setter
    def jit_fusion(self, value: bool) -> None:
        self.native_tcnn_module.jit_fusion = bool(value)


@cache
def _launcher(device: torch.device, process: int) -> TorchLauncher:
    """The launcher that all modules on a device share, one per process, since threads do not survive a fork."""
    return TorchLauncher(device)


def _choose(structure: Structure, dtype: torch.dtype, device: torch.device) -> Choice:
    """The form of a module on a device.

    With float32 on the CPU it is fused wherever that is possible, unless the environment asks for another form. No trial decides,
    since that of `choose_form` does not measure small batches, for which the blocked form is slow.
    """
    wanted = "auto" if dtype == torch.float16 else "float32"
    precision = choose_precision(wanted, "warp", device)
    if device.type != "cpu" or dtype == torch.float16:
        return Choice("blocked", precision, f"the form of {dtype} on {device.type}")
    if os.environ.get(VARIABLE, "auto") == "auto" and is_fusible(structure):
        return Choice("fused", precision, "the form of modules in float32")
    return choose_form(structure, "auto", wanted=wanted, precision=precision)


def _integer(value: Any) -> Any:
    """Convert an integer of NumPy to one of Python."""
    return int(value) if isinstance(value, np.integer) else value


def _scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """The same values, whose gradient is multiplied in the backward pass."""
    return _ScaleGradient.apply(tensor, factor)


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None
