"""Empty: an encoding without outputs, except for padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.nn.encodings.encoding import Encoding

if TYPE_CHECKING:
    from nrc_tracer.device.torch_launcher import TorchLauncher
    from nrc_tracer.nn import config as configuration


class EmptyEncoding(Encoding):
    """No outputs, for any input."""

    def __init__(self, config: configuration.Empty, n_input_dims: int) -> None:
        super().__init__(config, n_input_dims, 0)

    def values(self, x: Tensor, params: Tensor) -> Tensor:
        return x[:, :0].to(params.dtype)  # a view of the input, so that its gradient is zero instead of missing

    def differentiable(self, launcher: TorchLauncher, x: Tensor, params: Tensor, width: int) -> Tensor:
        return self.reference(x, params, width)

    def _forward(self, launcher: Launcher, x: Tensor, params: Tensor, values: Tensor) -> None:
        pass

    def _backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, d_x: Tensor) -> None:
        pass
