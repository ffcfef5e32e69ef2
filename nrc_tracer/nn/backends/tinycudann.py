"""tiny-cuda-nn itself, if its Python package is installed: for comparison."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError, DeviceError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.backends.backend import Backend, Evaluate
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.radiance_field import RadianceField
from nrc_tracer.nn.structure import Structure


class TinyCudaNNBackend(Backend):
    """Runs a model by the modules of an installed `tinycudann`.

    Input gradients can be differentiated again; tiny-cuda-nn leaves out the second derivatives of parameter gradients.

    Args:
        structure: Encoding and network.
        device: A CUDA device.
        precision: The precision that tiny-cuda-nn was compiled for, usually float16; an encoding alone may also have float32.

    Raises:
        ConfigError: tiny-cuda-nn does not support the model, or not in this precision.
        DeviceError: It is not installed, or does not run on the device.
    """

    name = "tinycudann"

    def __init__(self, structure: Structure, device: torch.device, precision: torch.dtype) -> None:
        super().__init__(structure, device, precision)
        if isinstance(structure.mlp, RadianceField):
            raise ConfigError('backend tinycudann: does not support "RadianceField"; use backend="warp"')
        tcnn = import_tinycudann()
        encoding = configuration.to_json(structure.encoding.config)
        try:
            if structure.mlp is None:
                module = tcnn.Encoding(structure.n_input_dims, encoding, dtype=precision)
            else:
                network = configuration.to_json(structure.mlp.config)
                module = tcnn.NetworkWithInputEncoding(
                    structure.n_input_dims, structure.n_output_dims, encoding, network
                )
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"backend tinycudann: {error}") from error
        if module.dtype != precision:
            ours, theirs = (str(dtype).removeprefix("torch.") for dtype in (precision, module.dtype))
            raise ConfigError(
                f'precision: this tinycudann has networks in {theirs}, not {ours}; use precision="{theirs}"'
            )
        if module.params.device.type != device.type:
            raise DeviceError(f'device: backend tinycudann runs on CUDA only, not on "{device}"; use backend="warp"')
        if module.params.numel() != structure.n_params:
            raise ConfigError(
                f"backend tinycudann: it has {module.params.numel():,} parameters, but this package "
                f'{structure.n_params:,}; use backend="warp"'
            )
        # Parameters are passed with every call, so the module needs none of its own
        module.params.data = torch.empty(0, device=device)
        self._module = module

    def infer(self, x: Tensor, params: Tensor, *, count: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            return self.differentiable(x, params.detach())

    def differentiable(self, x: Tensor, params: Tensor) -> Tensor:
        if not len(x):  # CUDA does not launch zero threads
            return (x.sum() + params.sum()) * x.new_zeros(0, self.structure.n_output_dims)
        return torch.func.functional_call(self._module, {"params": params}, (x,)).float()

    def gradient(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, *, loss_scale: float = 1.0
    ) -> tuple[Tensor, Gradient | None]:
        # Switch off the module's own scale: with both, float16 would overflow
        before, self._module.loss_scale = self._module.loss_scale, 1.0
        try:
            return super().gradient(x, params, evaluate, loss_scale=loss_scale)
        finally:
            self._module.loss_scale = before


def import_tinycudann() -> ModuleType:
    """The installed package `tinycudann`.

    Raises:
        DeviceError: It is not installed, or there is no GPU that it was compiled for.
    """
    try:
        import tinycudann
    except ImportError as error:
        raise DeviceError(
            "backend tinycudann: the Python package of tiny-cuda-nn is not installed; with a CUDA compiler, install it by "
            "pip install --no-build-isolation "
            '"git+https://github.com/NVlabs/tiny-cuda-nn#subdirectory=bindings/torch", or use backend="warp"'
        ) from error
    except OSError as error:  # about a missing GPU, or a missing library
        raise DeviceError(f'backend tinycudann: {error}; use backend="warp"') from error
    return tinycudann
