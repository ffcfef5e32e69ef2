"""The interface of everything that runs a network for a backend."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.mlp import Mlp
from nrc_tracer.nn.radiance_field import RadianceField


class NetworkRunner(Protocol):
    """Runs a network forward and backward. Outputs and gradients are float32 and have columns of padding.

    Attributes:
        mlp: The network.
        launcher: The launcher of the device that it runs on.
        precision: Type of the operands of matrix products.
    """

    @property
    def mlp(self) -> Mlp | RadianceField: ...
    @property
    def launcher(self) -> TorchLauncher: ...
    @property
    def precision(self) -> torch.dtype: ...

    def infer(self, x: Tensor, params: Tensor) -> Tensor:
        """The output, [N, padded output columns], for x, float32 [N, n_input_dims], and the weights, float32 [n_params]."""

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Any]:
        """The output of `infer`, and the data that `backward` needs."""

    def backward(
        self, d_out: Tensor, kept: Any, params: Tensor, d_params: Tensor, *, need_input: bool = True
    ) -> Tensor | None:
        """Gradients of weights and input.

        Args:
            d_out: Gradient of the output, float32 [N, padded output columns].
            kept: The data that `forward` returned with the output.
            params: The weights, float32 [n_params].
            d_params: Receives the gradient of the weights, float32 [n_params].
            need_input: Whether the gradient of the input is needed.

        Returns:
            The gradient of the input, float32 [N, n_input_dims], or None if it is not needed.
        """
