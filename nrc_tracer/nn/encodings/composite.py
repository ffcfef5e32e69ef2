"""Several encodings of parts of the input, concatenated, added or multiplied."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.encodings.encoding import Encoding

if TYPE_CHECKING:
    from nrc_tracer.device.torch_launcher import TorchLauncher
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import GradientSink
    from nrc_tracer.nn.initialization import Pcg32


class CompositeEncoding(Encoding):
    """Nested encodings, concatenated, added or multiplied.

    If they are concatenated, each is padded so that the next one begins at a multiple of its alignment, and padding of the whole
    goes to the last. If they are added or multiplied, all must have the same width, padding included.

    Args:
        config: The configuration.
        n_input_dims: Input columns.
        nested: The encodings.
        begins: The first input column of each nested encoding.

    Raises:
        ConfigError: Encodings that are added or multiplied have different widths.
    """

    def __init__(
        self, config: configuration.Composite, n_input_dims: int, nested: list[Encoding], begins: list[int]
    ) -> None:
        self.nested = tuple(nested)
        self.begins = tuple(begins)
        self.alignment = math.lcm(*(encoding.alignment for encoding in nested))
        self.concatenated = config.reduction == "Concatenation"
        if not self.concatenated:
            widths = {encoding.width(self.alignment) for encoding in nested}
            if len(widths) > 1:
                raise ConfigError(
                    f"encoding.reduction: {config.reduction} needs nested encodings of one width, got "
                    f"{', '.join(str(encoding.n_output_dims) for encoding in nested)}"
                )
        self._columns = self._place(nested)
        super().__init__(config, n_input_dims, self._columns[-1] if self.concatenated else max(widths))
        self.n_params = sum(encoding.n_params for encoding in nested)

    def _place(self, nested: list[Encoding]) -> list[int]:
        """The first column of each nested encoding, and one past the values of the last."""
        columns = [0]
        for index, encoding in enumerate(nested):
            following = nested[index + 1].alignment if index + 1 < len(nested) else 1
            end = columns[-1] + encoding.width(encoding.alignment)
            columns.append(-(-end // following) * following)
        return columns

    def first_column(self, index: int) -> int:
        """The first output column of a nested encoding in a concatenation."""
        return self._columns[index]

    def parts(self, width: int) -> Iterator[tuple[Encoding, slice, slice, slice]]:
        """Each nested encoding with its input columns, its parameters and its columns in an output of `width` columns."""
        first_param = 0
        for index, (encoding, begin) in enumerate(zip(self.nested, self.begins, strict=True)):
            last = index + 1 == len(self.nested)
            end = width if last or not self.concatenated else self._columns[index + 1]
            start = self._columns[index] if self.concatenated else 0
            inputs = slice(begin, begin + encoding.n_input_dims)
            yield encoding, inputs, slice(first_param, first_param + encoding.n_params), slice(start, end)
            first_param += encoding.n_params

    def initialize(self, generator: Pcg32) -> np.ndarray:
        return np.concatenate([encoding.initialize(generator) for encoding in self.nested])

    def values(self, x: Tensor, params: Tensor) -> Tensor:
        return self.reference(x, params, self.n_output_dims)

    def reference(self, x: Tensor, params: Tensor, width: int) -> Tensor:
        parts = [
            encoding.reference(x[:, inputs], params[own], columns.stop - columns.start)
            for encoding, inputs, own, columns in self.parts(width)
        ]
        return self._combined(parts)

    def differentiable(self, launcher: TorchLauncher, x: Tensor, params: Tensor, width: int) -> Tensor:
        parts = [
            encoding.differentiable(launcher, x[:, inputs], params[own], columns.stop - columns.start)
            for encoding, inputs, own, columns in self.parts(width)
        ]
        return self._combined(parts)

    def _combined(self, parts: list[Tensor]) -> Tensor:
        if self.concatenated:
            return torch.cat(parts, dim=1)
        result = parts[0]
        for part in parts[1:]:
            result = result + part if self.config.reduction == "Sum" else result * part
        return result

    # The kernels: each nested encoding writes its own columns

    def forward(self, launcher: Launcher, x: Tensor, params: Tensor, out: Tensor) -> None:
        if not self.concatenated:
            out.copy_(self._combined(self._unreduced(launcher, x, params, out.shape[1])))
            return
        for encoding, inputs, own, columns in self.parts(out.shape[1]):
            encoding.forward(launcher, x[:, inputs], params[own], out[:, columns])

    def backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_out: Tensor, d_x: Tensor) -> None:
        for d_part, (encoding, inputs, own, _) in zip(
            self._d_parts(launcher, x, params, d_out), self.parts(d_out.shape[1]), strict=True
        ):
            encoding.backward_input(launcher, x[:, inputs], params[own], d_part, d_x[:, inputs])

    def backward_params(self, launcher: Launcher, x: Tensor, params: Tensor, d_out: Tensor, sink: GradientSink) -> None:
        for d_part, (encoding, inputs, own, _) in zip(
            self._d_parts(launcher, x, params, d_out), self.parts(d_out.shape[1]), strict=True
        ):
            if encoding.n_params:
                encoding.backward_params(launcher, x[:, inputs], params[own], d_part, sink.part(own))

    def _unreduced(self, launcher: Launcher, x: Tensor, params: Tensor, width: int) -> list[Tensor]:
        parts = []
        for encoding, inputs, own, _ in self.parts(width):
            part = x.new_empty(len(x), width)
            encoding.forward(launcher, x[:, inputs], params[own], part)
            parts.append(part)
        return parts

    def _d_parts(self, launcher: Launcher, x: Tensor, params: Tensor, d_out: Tensor) -> list[Tensor]:
        """The gradient of each nested encoding's output."""
        width = d_out.shape[1]
        if self.concatenated:
            return [d_out[:, columns] for *_, columns in self.parts(width)]
        if self.config.reduction == "Sum":
            return [d_out] * len(self.nested)
        factors = self._unreduced(launcher, x, params, width)
        return [
            d_out * math.prod(other for other in factors if other is not factor) if len(factors) > 1 else d_out
            for factor in factors
        ]

    def _forward(self, launcher: Launcher, x: Tensor, params: Tensor, values: Tensor) -> None:
        raise NotImplementedError

    def _backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, d_x: Tensor) -> None:
        raise NotImplementedError
