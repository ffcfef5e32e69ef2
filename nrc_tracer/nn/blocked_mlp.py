"""Networks as matrix products through torch, in blocks of rows on a pool of threads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.mlp import Mlp

BLOCK = 4096
"""Rows per block on the CPU: their activations stay in the cache. It must not depend on the number of threads, since sums of
gradients depend on it."""


@dataclass(frozen=True)
class Activations:
    """The tensors of one block that a forward pass keeps for the backward pass.

    Attributes:
        layers: The input of each layer [rows, in].
        inputs: The argument of each layer's activation; None if its derivative does not need it.
        output: The output, float32 [rows, padded_output_dims].
    """

    layers: list[Tensor]
    inputs: list[Tensor | None]
    output: Tensor


class BlockedMlp:
    """Runs an `Mlp` in blocks of rows on a launcher's threads; see `NetworkRunner`.

    Results do not depend on the number of threads: blocks have a fixed size, and their weight gradients are added in order.

    Args:
        mlp: The network.
        launcher: The launcher of the device that it runs on.
        precision: Type of the operands: float32, bfloat16 or float16. Outputs and gradients are float32.
    """

    def __init__(self, mlp: Mlp, launcher: TorchLauncher, precision: torch.dtype) -> None:
        self.mlp = mlp
        self.launcher = launcher
        self.precision = precision

    def infer(self, x: Tensor, params: Tensor) -> Tensor:
        """The padded output, float32 [N, padded_output_dims], for x, float32 [N, n_input_dims]."""
        *hidden, last = self._weights(params)
        out = x.new_empty(len(x), self.mlp.padded_output_dims)

        def block(begin: int) -> None:
            with torch.inference_mode():
                h = x[begin : begin + self._size(x)].to(self.precision)
                for matrix in hidden:
                    h = self.mlp.activation.apply(torch.mm(h, matrix.T))
                z = torch.mm(h, last.T).float()
                out[begin : begin + len(z)] = self.mlp.output_activation.apply(z)

        self.launcher.each(block, self._starts(x))
        return out

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, list[Activations]]:
        """`infer`, and the tensors that `backward` needs."""
        mlp = self.mlp
        *hidden, last = self._weights(params)
        out = x.new_empty(len(x), mlp.padded_output_dims)
        starts = self._starts(x)
        kept: list[Activations | None] = [None] * len(starts)

        def block(begin: int) -> None:
            with torch.inference_mode():
                h = x[begin : begin + self._size(x)].to(self.precision)
                layers, inputs = [h], []
                for matrix in hidden:
                    z = torch.mm(h, matrix.T)
                    h = mlp.activation.apply(z)
                    layers.append(h)
                    inputs.append(z if mlp.activation.keeps_input else None)
                z = torch.mm(h, last.T).float()
                inputs.append(z if mlp.output_activation.keeps_input else None)
                y = mlp.output_activation.apply(z)
                out[begin : begin + len(y)] = y
                kept[begin // self._size(x)] = Activations(layers, inputs, y)

        self.launcher.each(block, starts)
        return out, kept  # type: ignore[return-value]

    def backward(
        self, d_out: Tensor, kept: list[Activations], params: Tensor, d_params: Tensor, *, need_input: bool = True
    ) -> Tensor | None:
        """Gradients of weights and input.

        Args:
            d_out: Gradient of the padded output, float32 [N, padded_output_dims].
            kept: The tensors that `forward` kept.
            params: The weights, float32 [n_params].
            d_params: Receives the gradient of the weights, float32 [n_params].
            need_input: Whether the gradient of the input is needed.

        Returns:
            The gradient of the input, float32 [N, n_input_dims], or None.
        """
        mlp = self.mlp
        weights = self._weights(params)
        d_x = d_out.new_empty(len(d_out), mlp.n_input_dims) if need_input else None
        parts = d_params.new_empty(max(len(kept), 1), mlp.n_params)
        if not kept:
            parts.zero_()

        def block(index: int) -> None:
            with torch.inference_mode():
                saved = kept[index]
                begin = index * self._size(d_out)
                gradients = mlp.matrices(parts[index])
                d_h = d_out[begin : begin + len(saved.output)]
                d_z = mlp.output_activation.backward(d_h, saved.inputs[-1], saved.output).to(self.precision)
                for layer in reversed(range(len(weights))):
                    gradients[layer].copy_(torch.mm(d_z.T, saved.layers[layer]))
                    if layer:
                        d_h = torch.mm(d_z, weights[layer])
                        d_z = mlp.activation.backward(d_h, saved.inputs[layer - 1], saved.layers[layer])
                if d_x is not None:
                    d_x[begin : begin + len(d_z)] = torch.mm(d_z, weights[0])

        self.launcher.each(block, range(len(kept)))
        torch.sum(parts, dim=0, out=d_params)
        return d_x

    def _weights(self, params: Tensor) -> list[Tensor]:
        return self.mlp.matrices(params.detach().to(self.precision))

    def _size(self, x: Tensor) -> int:
        return max(len(x), 1) if self.launcher.device.is_cuda else BLOCK

    def _starts(self, x: Tensor) -> range:
        return range(0, len(x), self._size(x))
