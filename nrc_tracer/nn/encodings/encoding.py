"""The base of all encodings: widths, a slow differentiable definition in torch, and Warp kernels for both devices.

An encoding writes `width` >= `n_output_dims` columns. Surplus columns are **padding**, a constant (0 for grids, else 1) after the
values, or before them for spherical harmonics. The ones change the model: they act as biases of the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from nrc_tracer.device.launch import Launcher

if TYPE_CHECKING:
    from nrc_tracer.device.torch_launcher import TorchLauncher
    from nrc_tracer.nn.gradients import GradientSink
    from nrc_tracer.nn.initialization import Pcg32


class Encoding(ABC):
    """A map from [N, n_input_dims] to [N, n_output_dims], with or without parameters.

    The kernels behind `forward`, `backward_input` and `backward_params` take float32 tensors on the launcher's device with
    contiguous rows, or slices of columns of such tensors; they neither allocate memory nor check their arguments.

    Attributes:
        config: The configuration.
        n_input_dims: Input columns.
        n_output_dims: Output columns without padding.
        n_params: Number of parameters.
        alignment: Inside a composite, the number of this encoding's first column must be a multiple of this.
    """

    padding_value: ClassVar[float] = 1.0
    padding_first: ClassVar[bool] = False

    n_params: int = 0
    alignment: int = 1

    def __init__(self, config: Any, n_input_dims: int, n_output_dims: int) -> None:
        self.config = config
        self.n_input_dims = n_input_dims
        self.n_output_dims = n_output_dims

    def width(self, alignment: int) -> int:
        """Output columns with padding to a multiple of `alignment`."""
        return -(-self.n_output_dims // alignment) * alignment

    def initialize(self, generator: Pcg32) -> Any:
        """Draw the initial parameters, float32 [n_params], in tiny-cuda-nn's order; the generator moves on."""
        return generator.floats(0)

    # The definition

    @abstractmethod
    def values(self, x: Tensor, params: Tensor) -> Tensor:
        """Encode by plain torch operations, differentiable any number of times.

        Arguments of functions are formed in float32 as in tiny-cuda-nn; all later operations have the precision of `params`.

        Args:
            x: float32 or float64 [N, n_input_dims].
            params: [n_params], in the dtype of the result.

        Returns:
            [N, n_output_dims].
        """

    def reference(self, x: Tensor, params: Tensor, width: int) -> Tensor:
        """`values` with padding to `width` columns."""
        return self._padded(self.values(x, params), width)

    @abstractmethod
    def differentiable(self, launcher: TorchLauncher, x: Tensor, params: Tensor, width: int) -> Tensor:
        """`forward` as a torch function that autograd can differentiate; gradients can be differentiated again."""

    def _padded(self, values: Tensor, width: int) -> Tensor:
        if width == self.n_output_dims:
            return values
        padding = values.new_full((len(values), width - self.n_output_dims), self.padding_value)
        return torch.cat((padding, values) if self.padding_first else (values, padding), dim=1)

    # The kernels

    def forward(self, launcher: Launcher, x: Tensor, params: Tensor, out: Tensor) -> None:
        """Encode `x` [N, n_input_dims] into all columns of `out` [N, width]."""
        values, padding = self._split(out)
        if padding.shape[1]:
            padding.fill_(self.padding_value)
        self._forward(launcher, x, params, values)

    def backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_out: Tensor, d_x: Tensor) -> None:
        """Add the gradient with respect to the input to `d_x` [N, n_input_dims], given that of all columns [N, width]."""
        self._backward_input(launcher, x, params, self._split(d_out)[0], d_x)

    def backward_params(self, launcher: Launcher, x: Tensor, params: Tensor, d_out: Tensor, sink: GradientSink) -> None:
        """Add the gradient with respect to the parameters to `sink`, given that of all columns [N, width]."""
        return  # encodings without parameters

    @abstractmethod
    def _forward(self, launcher: Launcher, x: Tensor, params: Tensor, values: Tensor) -> None: ...

    @abstractmethod
    def _backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, d_x: Tensor) -> None: ...

    def _split(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The columns of `out` that hold values, and those that hold padding."""
        n = self.n_output_dims
        if self.padding_first:
            return out[:, out.shape[1] - n :], out[:, : out.shape[1] - n]
        return out[:, :n], out[:, n:]


def rounded(exact: Tensor, slope: float | Tensor, x: Tensor) -> Tensor:
    """A value that was computed in float32, with the derivative that it has in exact arithmetic.

    Args:
        exact: The value, detached from `x`, in the precision of further operations.
        slope: The derivative of the value with respect to `x`.
        x: The input that the value was computed from.
    """
    return exact + slope * (x - x.detach()).to(exact.dtype) if x.requires_grad else exact
