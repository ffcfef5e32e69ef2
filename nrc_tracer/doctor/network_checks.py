"""The checks of encodings, networks and training: every form of the kernels against the float64 reference on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nrc_tracer import nn
from nrc_tracer.doctor.check import Comparison

N_INPUT, N_OUTPUT = 3, 3
ROWS = 2051
"""Number of inputs: no multiple of a block."""

CONFIG: dict[str, Any] = {
    # At 1.45 no scale is an integer, where one unit in the last place would move a point to the next cell
    "encoding": {
        "otype": "HashGrid",
        "n_levels": 8,
        "log2_hashmap_size": 12,
        "base_resolution": 4,
        "per_level_scale": 1.45,
    },
    "network": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 2},
    "loss": {"otype": "L2"},
    "optimizer": {"otype": "Adam", "learning_rate": 1e-2, "epsilon": 1e-8},
}

FLOAT32 = (1e-5, 1e-5, 1e-5)
FLOAT16 = (2e-2, 3e-2, 0.06)
BFLOAT16 = (2e-2, 3e-2, 0.15)
"""Largest errors of outputs (relative to the largest), weight gradients and grid gradients (in relative L2 norm) by the type of
the operands. They are a few hundred roundings of 6e-8; with halves, a neuron near a kink of its activation may fall on the other
side of it, which changes gradients more than outputs."""

STEPS = 8
FLOAT32_LOSS, HALF_LOSS = 1e-3, 2e-2
"""Largest relative difference of the losses of `STEPS` steps. It allows for more than the errors of gradients, as Adam divides
small gradients by their own size."""

PROGRESS = 0.8
"""Largest loss of the last step relative to that of the first."""


def spread_params(model: nn.Model) -> Tensor:
    """Initial parameters with grids as large as inputs are, so that every term of a gradient counts."""
    params = model.params.cpu().clone()
    split = model.structure.n_matrix_params
    generator = torch.Generator().manual_seed(5)
    params[split:] = 2.0 * torch.rand(model.n_params - split, generator=generator) - 1.0
    return params


def batch(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, smooth functions of them, on the CPU."""
    x = torch.rand(rows, N_INPUT, generator=torch.Generator().manual_seed(seed))
    return x, 1.5 + torch.sin(5.0 * x)


def squares(target: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The mean squared difference from a target, and its gradient, as a function of the output."""

    def evaluate(y: Tensor) -> tuple[Tensor, Tensor]:
        difference = y - target.to(y)
        return difference.square().mean(), 2.0 * difference / difference.numel()

    return evaluate


def relative_norm(value: Tensor, expected: Tensor) -> float:
    """Relative L2 norm of a difference."""
    value, expected = value.cpu().double(), expected.cpu().double()
    return float((value - expected).norm() / expected.norm())


def relative_peak(value: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    value, expected = value.cpu().double(), expected.cpu().double()
    return float((value - expected).abs().max() / expected.abs().max())


def reference(params: Tensor) -> nn.Model:
    """The model in float64 on the CPU."""
    return nn.Model(N_INPUT, N_OUTPUT, CONFIG, device="cpu", backend="reference", precision="float64", params=params)


def _limits(model: nn.Model) -> tuple[float, float, float]:
    return {"float32": FLOAT32, "float16": FLOAT16, "bfloat16": BFLOAT16}[model.precision]


def compare_network(device: str, **options: Any) -> list[Comparison]:
    """Compare outputs and gradients of a form of the model on the device with the reference."""
    model = nn.Model(N_INPUT, N_OUTPUT, CONFIG, device=device, **options)
    params = spread_params(model)
    model.set_params(params)
    exact = reference(params)
    split = model.structure.n_matrix_params
    x, target = batch(ROWS, 1)
    on_device = x.to(model.device)
    output = relative_peak(model(on_device), exact(x))
    scale = 128.0 if model.precision == "float16" else 1.0
    _, found = model.backend.gradient(on_device, model.params, squares(target), loss_scale=scale)
    _, wanted = exact.backend.gradient(x, exact.params, squares(target))
    if found is None or wanted is None:
        return [Comparison("gradients that are not finite", float((found is None) + (wanted is None)), 0.0)]
    ours, theirs = found.dense(), wanted.dense()
    errors = output, relative_norm(ours[:split], theirs[:split]), relative_norm(ours[split:], theirs[split:])
    names = ("output", "weight gradients", "grid gradients")
    return [Comparison(*row) for row in zip(names, errors, _limits(model), strict=True)]


def losses(model: nn.Model) -> list[float]:
    """The losses of `STEPS` steps of training."""
    trainer = nn.Trainer(model)
    found = []
    for number in range(STEPS):
        x, target = batch(ROWS, 100 + number)
        found.append(float(trainer.step(x.to(model.device), target.to(model.device))))
    return found


def compare_training(device: str, forms: dict[str, dict[str, Any]]) -> list[Comparison]:
    """Train each form of the model on the device as the reference is trained, on the same batches, and compare the losses."""
    initial = spread_params(nn.Model(N_INPUT, N_OUTPUT, CONFIG, device="cpu", backend="reference"))
    expected = losses(reference(initial))
    compared = []
    for name, options in forms.items():
        model = nn.Model(N_INPUT, N_OUTPUT, CONFIG, device=device, params=initial, **options)
        found = losses(model)
        limit = FLOAT32_LOSS if model.precision == "float32" else HALF_LOSS
        difference = max(abs(a - b) / b for a, b in zip(found, expected, strict=True))
        compared.append(Comparison(f"loss, {name}", difference, limit))
        compared.append(Comparison(f"last loss to first, {name}", found[-1] / found[0], PROGRESS))
    return compared


def compare_float32(device: str) -> list[Comparison]:
    """Compare the blocked form in float32."""
    return compare_network(device, backend="blocked", precision="float32")


def compare_halves(device: str) -> list[Comparison]:
    """Compare the blocked form with operands of 16 bits: float16, on the CPU bfloat16."""
    return compare_network(device, backend="blocked", precision="bfloat16" if device == "cpu" else "float16")


def compare_fused(device: str) -> list[Comparison]:
    """Compare the form with one kernel from inputs to outputs."""
    return compare_network(device, form="fused") if device == "cpu" else compare_network(device, fused=True)


def compare_all_training(device: str) -> list[Comparison]:
    """Compare the training of the forms that the device uses by default."""
    forms = {"float32": {"backend": "blocked", "precision": "float32"}}
    if device == "cpu":
        return compare_training(device, forms | {"fused": {"form": "fused"}})
    return compare_training(device, forms | {"float16": {"precision": "float16"}})
