"""Making the optimizer that a configuration describes."""

from __future__ import annotations

from nrc_tracer.device.launch import Launcher
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.optimizers.adam import Adam
from nrc_tracer.nn.optimizers.average import Average
from nrc_tracer.nn.optimizers.batched import Batched
from nrc_tracer.nn.optimizers.composite import CompositeOptimizer, parameter_slices
from nrc_tracer.nn.optimizers.ema import Ema
from nrc_tracer.nn.optimizers.exponential_decay import ExponentialDecay
from nrc_tracer.nn.optimizers.lookahead import Lookahead
from nrc_tracer.nn.optimizers.optimizer import Optimizer, Wrapper
from nrc_tracer.nn.optimizers.sgd import SGD

_WRAPPERS: dict[type, type[Wrapper]] = {
    configuration.Average: Average,
    configuration.Batched: Batched,
    configuration.Ema: Ema,
    configuration.ExponentialDecay: ExponentialDecay,
    configuration.Lookahead: Lookahead,
}


def build_optimizer(
    config: configuration.Optimizer, n_params: int, n_matrix_params: int, launcher: Launcher
) -> Optimizer:
    """The optimizer that a configuration describes, with those nested in it.

    Args:
        config: The configuration.
        n_params: Number of parameters of the model.
        n_matrix_params: Number of them that belong to the network, which come first.
        launcher: Runs the kernels.

    Raises:
        ConfigError: It does not fit a model of that many parameters.
    """
    if isinstance(config, configuration.Adam):
        return Adam(config, n_params, n_matrix_params, launcher)
    if isinstance(config, configuration.SGD):
        return SGD(config, n_params, n_matrix_params, launcher)
    if isinstance(config, configuration.CompositeOptimizer):
        parts = []
        for nested, part in zip(config.nested, parameter_slices(config, n_params), strict=True):
            size = part.stop - part.start
            n_matrix = min(max(n_matrix_params - part.start, 0), size)
            parts.append((part, build_optimizer(nested.optimizer, size, n_matrix, launcher)))
        return CompositeOptimizer(config, parts, n_params, n_matrix_params, launcher)
    return _WRAPPERS[type(config)](config, build_optimizer(config.nested, n_params, n_matrix_params, launcher))
