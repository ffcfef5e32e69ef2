"""Configuration of optimizers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from nrc_tracer.nn.config.part import Misfit, Part, Typed, expect, expect_all
from nrc_tracer.nn.config.rules import Choice, Flag, Integer, Number

_NOT_NEGATIVE = Number(0)
_DECAY = Number(0, 1, below=True)
_STEPS = Integer(0)
_COUNT = Integer(1)
_MOMENTS = Choice("type", ("float32", "bfloat16"))

MOST_BETA2 = 0.9995
"""Largest beta2 with moments in bfloat16, where steps are counted up to 32,767: beta2^32767 is then negligible."""


class Adam(Typed, frozen=True, kw_only=True, tag="Adam"):
    """Adam (Kingma and Ba 2014), with AdaBound (Luo et al. 2019). "Matrix" parameters are those of the network.

    Args:
        learning_rate: Learning rate, at least 0.
        beta1: Decay of the first moments, at least 0 and below 1.
        beta2: Decay of the second moments, at least 0 and below 1.
        epsilon: Added to the root of the second moments, at least 0.
        l2_reg: L2 regularization of the matrix parameters, at least 0.
        adabound: Whether the step is bounded as in AdaBound.
        relative_decay: Fraction of a weight lost per step, at least 0.
        absolute_decay: Amount of a weight lost per step, at least 0.
        clipping_magnitude: Largest magnitude of a weight, at least 0; 0 for no limit.
        gradient_clipping_magnitude: Largest magnitude of a gradient, at least 0; 0 for no limit.
        non_matrix_learning_rate_factor: Factor of the learning rate for all other parameters, at least 0.
        non_matrix_l2_reg: L2 regularization of all other parameters, at least 0.
        optimize_matrix_params: Whether matrix parameters are trained.
        optimize_non_matrix_params: Whether all other parameters are trained.
        skip_zero_grad_non_matrix_params: Whether other parameters rest while their gradient is exactly zero.
        moments: Type of the moments, "float32" or "bfloat16". bfloat16 takes half the memory and is not in tiny-cuda-nn; beta2
            may then be at most 0.9995.
    """

    learning_rate: Annotated[float, _NOT_NEGATIVE] = 1e-3
    beta1: Annotated[float, _DECAY] = 0.9
    beta2: Annotated[float, _DECAY] = 0.999
    epsilon: Annotated[float, _NOT_NEGATIVE] = 1e-8
    l2_reg: Annotated[float, _NOT_NEGATIVE] = 1e-8
    adabound: Annotated[bool, Flag()] = False
    relative_decay: Annotated[float, _NOT_NEGATIVE] = 0.0
    absolute_decay: Annotated[float, _NOT_NEGATIVE] = 0.0
    clipping_magnitude: Annotated[float, _NOT_NEGATIVE] = 0.0
    gradient_clipping_magnitude: Annotated[float, _NOT_NEGATIVE] = 0.0
    non_matrix_learning_rate_factor: Annotated[float, _NOT_NEGATIVE] = 1.0
    non_matrix_l2_reg: Annotated[float, _NOT_NEGATIVE] = 0.0
    optimize_matrix_params: Annotated[bool, Flag()] = True
    optimize_non_matrix_params: Annotated[bool, Flag()] = True
    skip_zero_grad_non_matrix_params: Annotated[bool, Flag()] = True
    moments: Annotated[str, _MOMENTS] = "float32"

    def relate(self) -> None:
        if self.moments == "bfloat16" and self.beta2 > MOST_BETA2:
            raise Misfit(self, "beta2", f"expected at most {MOST_BETA2} with moments bfloat16, got {self.beta2}")


class SGD(Typed, frozen=True, kw_only=True, tag="SGD"):
    """Stochastic gradient descent.

    Args:
        learning_rate: Learning rate, at least 0.
        l2_reg: L2 regularization, at least 0.
    """

    learning_rate: Annotated[float, _NOT_NEGATIVE] = 1e-3
    l2_reg: Annotated[float, _NOT_NEGATIVE] = 1e-8


class Wrapper(Typed, frozen=True, kw_only=True):
    """Base of the optimizers around another one, `nested` (Adam by default)."""

    nested: Optimizer = msgspec.field(default_factory=Adam)

    def relate(self) -> None:
        expect(self, "nested", Optimizer, "an optimizer")


class Ema(Wrapper, frozen=True, kw_only=True, tag="Ema"):
    """An exponential moving average of the parameters, used for inference only.

    Args:
        decay: Decay per step, at least 0 and below 1.
        full_precision: Whether the average is kept in float32.
        nested: The optimizer that trains.
    """

    decay: Annotated[float, _DECAY] = 0.99
    full_precision: Annotated[bool, Flag()] = False


class ExponentialDecay(Wrapper, frozen=True, kw_only=True, tag="ExponentialDecay"):
    """A learning rate that decays at intervals.

    Args:
        decay_base: Factor of the learning rate at each decay, at least 0.
        decay_interval: Training steps between decays, at least 1.
        decay_start: Number of training steps before the first decay, at least 0.
        decay_end: Last training step at which there may be a decay, at least 0.
        nested: The optimizer that trains.
    """

    decay_base: Annotated[float, _NOT_NEGATIVE] = 0.1
    decay_interval: Annotated[int, _COUNT] = 10000
    decay_start: Annotated[int, _STEPS] = 10000
    decay_end: Annotated[int, _STEPS] = 10000000


class Lookahead(Wrapper, frozen=True, kw_only=True, tag="Lookahead"):
    """Lookahead (Zhang et al. 2019): slow weights that follow the fast ones every few steps.

    Args:
        alpha: Fraction of the distance to the fast weights that the slow weights move, 0 to 1.
        n_steps: Steps of the nested optimizer per move of the slow weights, at least 1.
        nested: The optimizer that trains the fast weights.
    """

    alpha: Annotated[float, Number(0, 1)] = 0.5
    n_steps: Annotated[int, _COUNT] = 16


class Batched(Wrapper, frozen=True, kw_only=True, tag="Batched"):
    """One step of the nested optimizer per several gradients, with their mean.

    Args:
        batch_size_multiplier: Number of gradients, at least 1.
        nested: The optimizer that trains.
    """

    batch_size_multiplier: Annotated[int, _COUNT] = 16


class Average(Wrapper, frozen=True, kw_only=True, tag="Average"):
    """The mean of the parameters over the last steps, used for inference only.

    Args:
        n_samples: Number of steps, at least 1.
        nested: The optimizer that trains.
    """

    n_samples: Annotated[int, _COUNT] = 128


class NestedOptimizer(Part, frozen=True, kw_only=True):
    """An optimizer inside a `CompositeOptimizer`.

    Args:
        optimizer: The optimizer.
        n_params_to_optimize: Number of its parameters, which follow those of the previous optimizer; at least 0.
    """

    optimizer: Optimizer
    n_params_to_optimize: Annotated[int, Integer(0)] = 0

    def relate(self) -> None:
        expect(self, "optimizer", Optimizer, "an optimizer")


class CompositeOptimizer(Typed, frozen=True, kw_only=True, tag="Composite"):
    """Several optimizers, each for a part of the parameters.

    Args:
        nested: The optimizers in the order of the parameters, at least one.
    """

    nested: tuple[NestedOptimizer, ...]

    def relate(self) -> None:
        expect_all(self, self.nested, NestedOptimizer)


Optimizer = Adam | SGD | Ema | ExponentialDecay | Lookahead | Batched | Average | CompositeOptimizer
"""All optimizers."""
