"""The two networks of a radiance field, run one after the other with the interface of one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nrc_tracer.nn.network_runner import NetworkRunner
from nrc_tracer.nn.radiance_field import DENSITY_OUTPUTS, OUTPUTS, RadianceField

COLORS = OUTPUTS - 1


class Kept(NamedTuple):
    """The data of each network that `forward` keeps for `backward`, and the columns of the colour network's output."""

    density: Any
    rgb: Any
    columns: int


class RadianceFieldNetworks:
    """The `NetworkRunner` of a radiance field.

    The density network's output is float32; the first layer of the colour network rounds it to the precision of its operands.

    Args:
        mlp: The two networks.
        density: Runs the density network.
        rgb: Runs the colour network.
    """

    def __init__(self, mlp: RadianceField, density: NetworkRunner, rgb: NetworkRunner) -> None:
        self.mlp = mlp
        self.launcher = density.launcher
        self.precision = density.precision
        self.density = density
        self.rgb = rgb

    def infer(self, x: Tensor, params: Tensor) -> Tensor:
        """The output, float32 [N, 4], for x, float32 [N, n_input_dims]."""
        density, rgb = self.mlp.split(params)
        hidden = self.density.infer(x[:, : self.mlp.position_width], density)
        return self._outputs(self.rgb.infer(self._joined(hidden, x), rgb), hidden)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Kept]:
        """`infer`, and the tensors that `backward` needs."""
        density, rgb = self.mlp.split(params)
        hidden, kept_density = self.density.forward(x[:, : self.mlp.position_width], density)
        color, kept_rgb = self.rgb.forward(self._joined(hidden, x), rgb)
        return self._outputs(color, hidden), Kept(kept_density, kept_rgb, color.shape[1])

    def backward(
        self, d_out: Tensor, kept: Kept, params: Tensor, d_params: Tensor, *, need_input: bool = True
    ) -> Tensor | None:
        """Gradients of weights and input; see `NetworkRunner.backward`."""
        density, rgb = self.mlp.split(params)
        d_density, d_rgb = self.mlp.split(d_params)
        d_color = d_out.new_zeros(len(d_out), kept.columns)
        d_color[:, :COLORS] = d_out[:, :COLORS]
        d_joined = self.rgb.backward(d_color, kept.rgb, rgb, d_rgb)
        assert d_joined is not None  # `need_input` is true by default
        d_hidden = d_joined[:, :DENSITY_OUTPUTS].contiguous()
        d_hidden[:, 0] += d_out[:, COLORS]
        d_position = self.density.backward(d_hidden, kept.density, density, d_density, need_input=need_input)
        if d_position is None:
            return None
        return torch.cat([d_position, d_joined[:, DENSITY_OUTPUTS:]], dim=1)

    def _joined(self, hidden: Tensor, x: Tensor) -> Tensor:
        return torch.cat([hidden, x[:, self.mlp.position_width :]], dim=1)

    def _outputs(self, color: Tensor, hidden: Tensor) -> Tensor:
        return torch.cat([color[:, :COLORS], hidden[:, :1]], dim=1)
