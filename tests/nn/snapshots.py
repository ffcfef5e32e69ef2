"""Models and trainings for tests of files."""

import torch

import nrc_tracer.nn as nn

CONFIG = {
    "encoding": {"otype": "HashGrid", "n_levels": 4, "log2_hashmap_size": 10, "per_level_scale": 1.45},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1},
    "loss": {"otype": "L2"},
    "optimizer": {
        "otype": "Ema",
        "decay": 0.9,
        "nested": {
            "otype": "ExponentialDecay",
            "decay_start": 2,
            "nested": {"otype": "Adam", "learning_rate": 0.1 / 3},
        },
    },
}
# A model without random numbers, small enough for damaging every byte of its file
TINY = {
    "encoding": {"otype": "Identity"},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 1},
    "optimizer": {"otype": "SGD"},
}


def make(config=CONFIG, n_input_dims=3, n_output_dims=1, **options):
    return nn.Model(n_input_dims, n_output_dims, config, device="cpu", **options)


def batch(seed, n=300):
    x = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))
    return x, torch.sin(6.0 * x.sum(dim=1, keepdim=True))


def train(trainer, steps, first=0):
    for seed in range(first, first + steps):
        trainer.step(*batch(seed))


class Recorder:
    """A fake trainer that keeps the state that is loaded."""

    def __init__(self, model, state):
        self.model, self.config, self._state = model, model.config, state

    def state(self, *, copy: bool = True):
        return self._state

    def load_state(self, state):
        self._state = state
