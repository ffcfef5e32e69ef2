"""A small task for tests of the behaviour that all tasks share."""

from __future__ import annotations

import torch

from nrc_tracer import nn
from nrc_tracer.errors import SnapshotError
from nrc_tracer.tasks.task import Task

CONFIG = {
    "encoding": {"otype": "HashGrid", "n_levels": 4, "log2_hashmap_size": 8},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1},
    "loss": {"otype": "L2"},
    "optimizer": {"otype": "Adam", "learning_rate": 1e-2},
}


class Wave(Task):
    """Learns sin(2 pi x) cos(2 pi y). `memory` is additional state that every step changes and depends on."""

    kind = "wave"

    def __init__(self, seed: int = 7, frequency: float = 1.0, precision: str = "float32") -> None:
        self.seed = seed
        self.frequency = frequency
        self.trainer = nn.Trainer(nn.Model(2, 1, CONFIG, seed=seed, device="cpu", precision=precision))
        self.memory = torch.zeros(3)

    def batch(self, stream: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.rand(256, 2, generator=self.generator(stream=stream))
        angle = 2.0 * torch.pi * self.frequency * x
        return x, (angle[:, :1].sin() * angle[:, 1:].cos())

    def step(self) -> torch.Tensor:
        x, y = self.batch(0)
        self.memory = 0.9 * self.memory + x[:3, 0]
        return self.trainer.step(x, y + 0.01 * self.memory.sum())

    def score(self) -> dict[str, float]:
        x, y = self.batch(1)
        return {"error": float((self.trainer.model(x) - y).square().mean())}

    def metadata(self) -> dict:
        return {"frequency": self.frequency}

    def tensors(self) -> dict:
        return {"memory": self.memory}

    def check(self, metadata, tensors) -> None:
        if metadata["frequency"] != self.frequency:
            raise SnapshotError("of another wave")

    def restore(self, metadata, tensors) -> None:
        self.memory = tensors["memory"].clone()
