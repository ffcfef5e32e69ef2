"""Optimizers as tiny-cuda-nn has them: Adam and SGD, and wrappers around them."""

from __future__ import annotations

from nrc_tracer.device.launch import Launcher
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.optimizers.adam import Adam
from nrc_tracer.nn.optimizers.average import Average
from nrc_tracer.nn.optimizers.batched import Batched
from nrc_tracer.nn.optimizers.composite import CompositeOptimizer
from nrc_tracer.nn.optimizers.ema import Ema
from nrc_tracer.nn.optimizers.exponential_decay import ExponentialDecay
from nrc_tracer.nn.optimizers.lookahead import Lookahead
from nrc_tracer.nn.optimizers.optimizer import Optimizer, StateError
from nrc_tracer.nn.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "Average",
    "Batched",
    "CompositeOptimizer",
    "Ema",
    "ExponentialDecay",
    "Lookahead",
    "Optimizer",
    "StateError",
    "build_optimizer",
]

_OPTIMIZERS: dict[type, type[Optimizer]] = {
    configuration.Adam: Adam,
    configuration.Average: Average,
    configuration.Batched: Batched,
    configuration.CompositeOptimizer: CompositeOptimizer,
    configuration.Ema: Ema,
    configuration.ExponentialDecay: ExponentialDecay,
    configuration.Lookahead: Lookahead,
    configuration.SGD: SGD,
}


def build_optimizer(
    config: configuration.Optimizer, n_params: int, n_matrix_params: int, launcher: Launcher
) -> Optimizer:
    """The optimizer of a configuration, wrappers and all.

    Args:
        config: The configuration.
        n_params: Number of parameters of the model.
        n_matrix_params: How many of them, the first ones, belong to the network.
        launcher: Where it runs.

    Raises:
        ConfigError: It does not fit a model of that many parameters.
    """
    return _OPTIMIZERS[type(config)](config, n_params, n_matrix_params, launcher)
