"""A model: an encoding and a network with their parameters, on a device."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import ArrayError, as_rows
from nrc_tracer.device.pages import prefer_large_pages
from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import ConfigError, nearest
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.backends.backend import Backend
from nrc_tracer.nn.forms import FORMS
from nrc_tracer.nn.mlp import Mlp
from nrc_tracer.nn.precision import NAMES, choose_precision
from nrc_tracer.nn.radiance_field import RadianceField
from nrc_tracer.nn.snapshot_writing import save_model
from nrc_tracer.nn.structure import Structure
from nrc_tracer.nn.views import EncodingView, NetworkView

BACKENDS = ("warp", "blocked", "reference", "tinycudann")


class Model:
    """A trainable function from [N, n_input_dims] to [N, n_output_dims].

        model = Model(3, 1, "config_hash.json")
        y = model(x)

    Args:
        n_input_dims: Input columns; grids take values in [0, 1].
        n_output_dims: Output columns; leave out for an encoding alone.
        config: tiny-cuda-nn's JSON: a file, its contents, or a `ModelConfig`. `"network": null` means an encoding alone.
        device: Torch device, such as `cpu` or `cuda:0`; a GPU if there is one unless given.
        seed: Seed of the initial parameters, which are those of tiny-cuda-nn.
        backend: `warp`, `blocked`, `reference` or `tinycudann`. `blocked` is `warp` without fused kernels.
        precision: Type of the operands of matrix products: `float32`, `bfloat16`, `float16`, for the reference also `float64`;
            `auto` for the fastest.
        threads: Threads on the CPU; one per core unless given.
        params: Initial parameters, any float type [n_params], instead of those drawn from the seed.
        deterministic: Training on a GPU gives the same bits every time, but takes longer. On the CPU it always does.
        fused: Run encoding and network in one CUDA kernel, with precision float16. **It has never run on a GPU.**
        form: Form of the kernels on the CPU: `fused` for one kernel from inputs to outputs in float32, `blocked` for blocks of
            matrix products, `auto` for the faster one in a trial on this machine; see `backend_report`.

    Attributes:
        params: All parameters, float32 [n_params], those of the network first; they may be changed in place.
        config: The configuration.
        device: Torch device.
        encoding: The encoding, with named views of its parameters.
        network: The network, with named views of its weights; None for an encoding alone.

    Raises:
        ConfigError: The configuration cannot be read, or its parts do not fit together.
        DeviceError: There is no such device, or the backend cannot use it.
        ArrayError: `params` has another length than the model's parameters.
    """

    def __init__(
        self,
        n_input_dims: int,
        n_output_dims: int | None = None,
        config: str | os.PathLike[str] | Mapping[str, Any] | configuration.ModelConfig | None = None,
        *,
        device: str | torch.device | None = None,
        seed: int = 1337,
        backend: str = "warp",
        precision: str = "auto",
        threads: int | None = None,
        params: Tensor | None = None,
        deterministic: bool = False,
        fused: bool = False,
        form: str = "auto",
    ) -> None:
        for name, value, low in (("seed", seed, None), ("threads", threads, 1)):
            fits = isinstance(value, int) and not isinstance(value, bool) and (low is None or value >= low)
            if not fits and not (name == "threads" and value is None):
                raise ConfigError(
                    f"{name}: expected an integer{f' of at least {low}' if low else ''}, got {value!r:.40}"
                )
        self.config = read_config(config, n_input_dims)
        self.seed = seed
        self.threads = threads
        structure = Structure(n_input_dims, n_output_dims, self.config.encoding, self.config.network)
        self.device = find_torch_device(device)
        self.backend = build_backend(
            backend, structure, self.device, precision, threads, deterministic=deterministic, fused=fused, form=form
        )
        self.params = prefer_large_pages(torch.empty(structure.n_params, device=self.device))
        self.set_params(structure.initial_params(seed) if params is None else params)
        self._averaged: Callable[[], Tensor | None] | None = None

    @property
    def structure(self) -> Structure:
        """The encoding and the network, and the layout of their parameters."""
        return self.backend.structure

    @property
    def n_input_dims(self) -> int:
        """Input columns."""
        return self.structure.n_input_dims

    @property
    def n_output_dims(self) -> int:
        """Output columns."""
        return self.structure.n_output_dims

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return self.structure.n_params

    @property
    def precision(self) -> str:
        """Name of the type of matrix products' operands."""
        return NAMES[self.backend.precision]

    @property
    def form(self) -> str:
        """The form of the kernels, `fused` or `blocked`; the name of the backend if it has only one form."""
        choice = getattr(self.backend, "choice", None)
        return self.backend.name if choice is None else choice.form

    def backend_report(self) -> str:
        """One line that names the backend, the precision, the form of the kernels and the reason for it."""
        choice = getattr(self.backend, "choice", None)
        line = f"{self.backend.name} on {self.device}, {self.precision}"
        return line if choice is None else f"{line}: {choice.form} kernels, {choice.reason}"

    @property
    def encoding(self) -> EncodingView:
        """The encoding with views of its parameters."""
        return EncodingView(self.structure.encoding, self.structure.split(self.params)[1])

    @property
    def network(self) -> NetworkView | None:
        """The network with views of its weights; None for an encoding alone or a radiance field, which has two `networks`."""
        mlp = self.structure.mlp
        return NetworkView(mlp, self.structure.split(self.params)[0]) if isinstance(mlp, Mlp) else None

    @property
    def networks(self) -> tuple[NetworkView, ...]:
        """All networks with views of their weights: for a radiance field those of density and of colour."""
        mlp = self.structure.mlp
        if isinstance(mlp, RadianceField):
            density, rgb = mlp.split(self.structure.split(self.params)[0])
            return NetworkView(mlp.density, density), NetworkView(mlp.rgb, rgb)
        return () if self.network is None else (self.network,)

    @property
    def inference_params(self) -> Tensor:
        """The parameters for inference: an average over training if the optimizer keeps one, else `params`."""
        averaged = self._averaged() if self._averaged else None
        return self.params if averaged is None else averaged

    def set_average(self, average: Callable[[], Tensor | None] | None) -> None:
        """Use the parameters that `average` returns for inference, unless it returns None. A `Trainer` sets this."""
        self._averaged = average

    def set_params(self, params: Tensor) -> None:
        """Overwrite the model's parameters with others, any float type [n_params].

        Raises:
            ArrayError: They have another shape or type.
        """
        if params.ndim != 1 or len(params) != self.n_params or not params.is_floating_point():
            raise ArrayError(f"params: expected {self.n_params} floats, got {params.dtype} {list(params.shape)}")
        self.params.copy_(params)

    def __call__(self, x: Any, *, averaged: bool = True, count: Tensor | None = None) -> Any:
        """The output for inputs, float32 [N, n_input_dims], without a graph for autograd.

        Args:
            x: Torch tensor, Warp array or NumPy array on the model's device.
            averaged: Use `inference_params`; else `params`, the parameters in training.
            count: Number of leading rows to compute, int32 [1] on the device, read without waiting. The outputs of other rows are
                undefined. Only a fused model saves their cost.

        Returns:
            [N, n_output_dims], float32 (float64 from a reference of that precision): a Warp array if x is one, else a tensor.

        Raises:
            ArrayError: `x` has another shape, type or device.
        """
        params = self.inference_params if averaged else self.params
        y = self.backend.infer(as_rows(x, self.n_input_dims, self.device, "x"), params, count=count)
        return wp.from_torch(y) if isinstance(x, wp.array) else y

    def density(self, x: Any, *, averaged: bool = True) -> Tensor:
        """The density of a radiance field at positions, before its activation; the colour network is not run.

        Args:
            x: Positions, float32 [N, position dims]: torch tensor, Warp array or NumPy array on the model's device.
            averaged: As in `__call__`.

        Returns:
            float32 [N] (float64 from a reference of that precision).

        Raises:
            ConfigError: The network is not a "RadianceField".
            ArrayError: `x` has another shape, type or device.
        """
        encoding = self.structure.density_parts(self.params)[0]
        params = self.inference_params if averaged else self.params
        return self.backend.density(as_rows(x, encoding.n_input_dims, self.device, "x"), params)

    def apply(self, x: Tensor, params: Tensor) -> Tensor:
        """The output as a function of inputs [N, n_input_dims] and flat parameters that autograd can differentiate.

        Gradients with respect to both can be differentiated once more.

        Raises:
            ArrayError: An argument has another shape, type or device.
        """
        exact = self.backend.precision == torch.float64
        dtypes = (torch.float32, torch.float64) if exact else (torch.float32,)
        if not isinstance(params, Tensor) or params.shape != (self.n_params,) or params.dtype not in dtypes:
            raise ArrayError(f"params: expected a float32 tensor [{self.n_params}], which `Model.params` is")
        if params.device != self.device:
            raise ArrayError(f"params: is on {params.device}, the model on {self.device}; move one of them with .to()")
        return self.backend.differentiable(as_rows(x, self.n_input_dims, self.device, "x"), params.contiguous())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write configuration and parameters to a file that `nrc_tracer.nn.load` reads on any device.

        Raises:
            SnapshotError: The file cannot be written, or parameters are not finite.
        """
        save_model(self, path)

    def __repr__(self) -> str:
        return (
            f"Model({self.n_input_dims} -> {self.n_output_dims}, {self.n_params:,} parameters, {self.backend.name} on "
            f"{self.device}, {self.precision})"
        )


def read_config(
    config: str | os.PathLike[str] | Mapping[str, Any] | configuration.ModelConfig | None, n_input_dims: int
) -> configuration.ModelConfig:
    """The configuration from a file or its contents; a `ModelConfig` is returned as it is."""
    if isinstance(config, configuration.ModelConfig):
        return config
    return configuration.read_model({} if config is None else config, n_input_dims=n_input_dims)


def build_backend(
    name: str,
    structure: Structure,
    device: torch.device,
    precision: str,
    threads: int | None,
    *,
    deterministic: bool = False,
    fused: bool = False,
    form: str = "auto",
) -> Backend:
    """The backend with a name; other arguments as in `Model`.

    Raises:
        ConfigError: There is no such backend, or it does not have this precision or fused kernels.
        DeviceError: The backend cannot run on this device, or is not installed.
    """
    if name not in BACKENDS:
        raise ConfigError(f'backend: unknown "{name}"{nearest(str(name), BACKENDS)}')
    if form not in FORMS:
        raise ConfigError(f'form: unknown "{form}"{nearest(str(form), FORMS)}')
    if fused and name != "warp":
        raise ConfigError(f"fused: the {name} backend has no fused kernels; leave fused=True out")
    dtype = choose_precision("float16" if fused and precision == "auto" else precision, name, device)
    if name == "reference":
        from nrc_tracer.nn.backends.reference import ReferenceBackend

        return ReferenceBackend(structure, device, dtype)
    if name == "tinycudann":
        from nrc_tracer.nn.backends.tinycudann import TinyCudaNNBackend

        return TinyCudaNNBackend(structure, device, dtype)
    from nrc_tracer.device.torch_launcher import TorchLauncher
    from nrc_tracer.nn.backends.warp import WarpBackend

    launcher = TorchLauncher(device, threads=threads)
    choice = None
    if device.type == "cpu" and not fused and not deterministic:
        from nrc_tracer.nn.fused_cpu.choice import choose_form

        choice = choose_form(structure, "blocked" if name == "blocked" else form, wanted=precision, precision=dtype)
        dtype = choice.precision
    return WarpBackend(structure, launcher, dtype, deterministic=deterministic, fused=fused, choice=choice, name=name)
