"""tiny-cuda-nn itself, where the user has installed its Python package: for comparison, and as a second opinion."""

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
    """A model by the modules of an installed `tinycudann`.

    Input gradients can be differentiated again; of parameter gradients tiny-cuda-nn leaves second derivatives out.

    Args:
        structure: What to run.
        device: A CUDA device.
        precision: The one that tiny-cuda-nn was compiled for, mostly float16; an encoding alone may also have float32.

    Raises:
        ConfigError: tiny-cuda-nn has no such model, or not in this precision.
        DeviceError: It is not installed, or does not run on the device.
    """

    name = "tinycudann"

    def __init__(self, structure: Structure, device: torch.device, precision: torch.dtype) -> None:
        super().__init__(structure, device, precision)
        if isinstance(structure.mlp, RadianceField):
            raise ConfigError('backend tinycudann: has no "RadianceField"; use backend="warp"')
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
            raise DeviceError(f'device: backend tinycudann runs on CUDA alone, not on "{device}"; use backend="warp"')
        if module.params.numel() != structure.n_params:
            raise ConfigError(
                f"backend tinycudann: it counts {module.params.numel():,} parameters, this package "
                f'{structure.n_params:,}; use backend="warp"'
            )
        # Parameters are given with every call: its own are but a place to put them
        module.params.data = torch.empty(0, device=device)
        self._module = module

    def infer(self, x: Tensor, params: Tensor, *, count: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            return self.differentiable(x, params.detach())

    def differentiable(self, x: Tensor, params: Tensor) -> Tensor:
        if not len(x):  # a launch of no threads is an error to CUDA
            return (x.sum() + params.sum()) * x.new_zeros(0, self.structure.n_output_dims)
        return torch.func.functional_call(self._module, {"params": params}, (x,)).float()

    def gradient(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, *, loss_scale: float = 1.0
    ) -> tuple[Tensor, Gradient | None]:
        # One scale is enough: with the module's own on top, float16 would overflow
        before, self._module.loss_scale = self._module.loss_scale, 1.0
        try:
            return super().gradient(x, params, evaluate, loss_scale=loss_scale)
        finally:
            self._module.loss_scale = before


def import_tinycudann() -> ModuleType:
    """The user's `tinycudann`.

    Raises:
        DeviceError: It is not installed, or there is no GPU that it was compiled for.
    """
    try:
        import tinycudann
    except ImportError as error:
        raise DeviceError(
            "backend tinycudann: the Python package of tiny-cuda-nn is not installed; with a CUDA compiler, get it by "
            "pip install --no-build-isolation "
            '"git+https://github.com/NVlabs/tiny-cuda-nn#subdirectory=bindings/torch", or use backend="warp"'
        ) from error
    except OSError as error:  # its own complaint about GPUs, and the loader's about libraries
        raise DeviceError(f'backend tinycudann: {error}; use backend="warp"') from error
    return tinycudann
