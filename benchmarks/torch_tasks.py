"""The peer of `benchmarks.tasks`: training the same models in plain torch, behind the interface that tasks use.

Samples, rays and scores are the task's own. Encoding, network, their gradients and the optimizer are torch's: `torch_grid`,
`torch.optim.Adam(fused=True)`, which updates every table entry at every step, and torch's own moving average of weights, which
gives the first weights more influence than the package does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.torch_grid import TorchModel, copied_layers, in_chunks, run_layers, torch_threads
from nrc_tracer import nn
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.losses import build_loss
from nrc_tracer.nn.precision import DTYPES
from nrc_tracer.tasks.nerf.fit import NerfTask
from nrc_tracer.tasks.task import Task

CHUNK = 2**15
"""Queries per evaluation outside of training."""


class TorchField(torch.nn.Module):
    """The two networks of a radiance field: see `nrc_tracer.nn.radiance_field`.

    Args:
        model: The model to imitate; its parameters are copied.
        layout: Layout of the tables.
        dtype: Type of the networks' operands.
    """

    def __init__(self, model: nn.Model, layout: str, dtype: torch.dtype) -> None:
        super().__init__()
        density, rgb = model.networks
        self._dtype = dtype
        self.position = TorchModel(model.encoding.nested(0), density, density.structure.n_output_dims, layout, dtype)
        self.rgb = copied_layers(rgb)
        self._harmonics = model.encoding.nested(1).structure
        self._width = rgb.structure.n_input_dims - density.structure.n_output_dims

    def density(self, x: Tensor) -> Tensor:
        """The raw density [N] at positions [N, 3]."""
        return self.position(x)[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        """Raw red, green, blue and density [N, 4]."""
        hidden = self.position(x[:, :3])
        direction = self._harmonics.reference(x[:, 3:], x.new_empty(0), self._width)
        color = run_layers(torch.cat([hidden, direction], dim=1), self.rgb, self._dtype)
        return torch.cat([color[:, :3], hidden[:, :1]], dim=1)


class Answering:
    """The interface of a model that tasks use, `model(x)` and `model.density(x)`, with averaged weights if there are any."""

    def __init__(self, ours: nn.Model, trainer: TorchTrainer) -> None:
        self.config, self.precision, self.device, self.threads = ours.config, ours.precision, ours.device, ours.threads
        self.n_params, self.n_input_dims, self.n_output_dims = ours.n_params, ours.n_input_dims, ours.n_output_dims
        self._trainer = trainer

    def __call__(self, x: Tensor, *, averaged: bool = True) -> Tensor:
        return self._ask(lambda module: module, x, averaged)

    def density(self, x: Tensor, *, averaged: bool = True) -> Tensor:
        """The raw density [N] at positions [N, 3]."""
        return self._ask(lambda module: module.density, x, averaged)

    def _ask(self, part: Callable[[Any], Callable[[Tensor], Tensor]], x: Tensor, averaged: bool) -> Tensor:
        module = self._trainer.answering if averaged else self._trainer.module
        with torch_threads(self._trainer.threads):
            return in_chunks(part(module), x, CHUNK).clone()


def put_into(task: Task, layout: str, threads: int) -> None:
    """Make a task train and score in plain torch."""
    task.trainer = TorchTrainer(task.trainer, layout, threads)
    if isinstance(task, NerfTask):
        task.volume.model = task.trainer.model


class TorchTrainer:
    """Takes the place of a `nrc_tracer.nn.Trainer` in a task, and trains in plain torch.

    Args:
        trainer: The trainer to imitate: its model, loss and optimizer, which is Adam, alone or within ExponentialDecay and Ema.
        layout: Layout of the tables, one of `torch_grid.LAYOUTS`.
        threads: Torch's threads.
    """

    def __init__(self, trainer: nn.Trainer, layout: str, threads: int) -> None:
        model = trainer.model
        dtype = DTYPES[model.precision]
        field = isinstance(model.config.network, configuration.RadianceField)
        self.module = TorchField(model, layout, dtype) if field else TorchModel.of(model, layout, dtype)
        self.threads = threads
        self.config = trainer.config
        self._loss = build_loss(trainer.config.loss)
        self._average: AveragedModel | None = None
        self._decay: configuration.ExponentialDecay | None = None
        adam = self._unwrapped(trainer.config.optimizer)
        parameters = dict(self.module.named_parameters())
        tables = [parameter for name, parameter in parameters.items() if "tables." in name]
        layers = [parameter for name, parameter in parameters.items() if "tables." not in name]
        self._optimizer = torch.optim.Adam(
            [
                {"params": layers, "weight_decay": adam.l2_reg},
                {"params": tables, "weight_decay": adam.non_matrix_l2_reg},
            ],
            lr=adam.learning_rate,
            betas=(adam.beta1, adam.beta2),
            eps=adam.epsilon,
            fused=True,
        )
        self.model = Answering(model, self)
        self.steps = self.skipped_steps = 0

    def _unwrapped(self, optimizer: configuration.Optimizer) -> configuration.Adam:
        if isinstance(optimizer, configuration.Ema):
            self._average = AveragedModel(self.module, multi_avg_fn=get_ema_multi_avg_fn(optimizer.decay))
        elif isinstance(optimizer, configuration.ExponentialDecay):
            self._decay = optimizer
        elif isinstance(optimizer, configuration.Adam):
            return optimizer
        else:
            raise TypeError(f"no plain torch for {optimizer}")
        return self._unwrapped(optimizer.nested)

    @property
    def answering(self) -> torch.nn.Module:
        """The model with averaged weights if there are any."""
        return self.module if self._average is None or self.steps == 0 else self._average.module

    def step(self, x: Tensor, target: Tensor) -> Tensor:
        """See `nrc_tracer.nn.Trainer.step`."""
        return self.descend(x, lambda output: self._loss.evaluate(output, target, None))

    def descend(self, x: Tensor, evaluate: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """See `nrc_tracer.nn.Trainer.descend`."""
        if self._decays_now():
            for group in self._optimizer.param_groups:
                group["lr"] *= self._decay.decay_base
        with torch_threads(self.threads), torch.enable_grad():
            self._optimizer.zero_grad()
            output = self.module(x)
            loss, gradient = evaluate(output.detach())
            output.backward(gradient)
            self._optimizer.step()
            if self._average is not None:
                self._average.update_parameters(self.module)
        self.steps += 1
        return loss

    def _decays_now(self) -> bool:
        decay = self._decay
        if decay is None or not decay.decay_start <= self.steps <= decay.decay_end:
            return False
        return (self.steps - decay.decay_start) % decay.decay_interval == 0
