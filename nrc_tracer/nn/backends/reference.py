"""The reference backend: plain torch in float64 or float32. Slow; other backends are tested against it."""

from __future__ import annotations

import torch
from torch import Tensor

from nrc_tracer.nn.backends.backend import Backend


class ReferenceBackend(Backend):
    """Runs a model by plain torch operations in one precision, float32 or float64."""

    name = "reference"

    def infer(self, x: Tensor, params: Tensor, *, count: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            return self.structure.reference(x, params.to(self.precision))

    def differentiable(self, x: Tensor, params: Tensor) -> Tensor:
        return self.structure.reference(x, params.to(self.precision))
