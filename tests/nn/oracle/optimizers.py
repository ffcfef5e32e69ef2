"""Optimizers and their wrappers, for one parameter vector in float64.

Hyperparameters are rounded to float32 first, as tiny-cuda-nn stores them: 1 - 0.999f is not 0.001. Sources: tiny-cuda-nn's
optimizers; Kingma and Ba 2015 (Adam); Luo et al. 2019 (AdaBound); Zhang et al. 2019 (Lookahead).
"""

from __future__ import annotations

import numpy as np


def _float(value: float) -> float:
    return float(np.float32(value))


class Optimizer:
    """`step` returns the new weights; `custom` contains the weights for inference if they differ from the trained ones."""

    learning_rate: float
    steps: int = 0
    custom: np.ndarray | None = None
    weights: np.ndarray | None = None

    def step(self, weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        self.weights = self._step(np.array(weights, np.float64), np.array(gradients, np.float64))
        return self.weights.copy()

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    @property
    def inference_weights(self) -> np.ndarray | None:
        """Weights for inference after the last step; None before the first step."""
        return self.weights if self.custom is None else self.custom


class Adam(Optimizer):
    """Adam, with AdaBound and weight decay. Scalars outside of matrices with zero gradient keep their value and step count."""

    def __init__(self, config: dict, n_matrix_params: int) -> None:
        def number(key: str, default: float) -> float:
            return _float(config.get(key, default))

        self.n_matrix = n_matrix_params
        self.learning_rate = number("learning_rate", 1e-3)
        self.beta1, self.beta2 = number("beta1", 0.9), number("beta2", 0.999)
        self.epsilon = number("epsilon", 1e-8)
        self.l2_reg, self.non_matrix_l2_reg = number("l2_reg", 1e-8), number("non_matrix_l2_reg", 0)
        self.relative_decay, self.absolute_decay = number("relative_decay", 0), number("absolute_decay", 0)
        self.clip_weight, self.clip_gradient = number("clipping_magnitude", 0), number("gradient_clipping_magnitude", 0)
        self.non_matrix_factor = number("non_matrix_learning_rate_factor", 1)
        self.adabound = config.get("adabound", False)
        self.optimize_matrix = config.get("optimize_matrix_params", True)
        self.optimize_non_matrix = config.get("optimize_non_matrix_params", True)
        self.skip_zero = config.get("skip_zero_grad_non_matrix_params", True)
        self.m = self.v = self.t = None

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        if self.m is None:
            self.m, self.v, self.t = np.zeros_like(w), np.zeros_like(w), np.zeros(w.shape, np.int64)
        self.steps += 1

        # Choose the scalars to update, by the gradient before regularization
        matrix = np.arange(w.size) < self.n_matrix
        lazy = (g == 0) if self.skip_zero else np.zeros(w.shape, bool)
        active = np.where(matrix, self.optimize_matrix, self.optimize_non_matrix & ~lazy)

        # Regularize, then clip the gradient
        g = g + np.where(matrix, self.l2_reg, self.non_matrix_l2_reg) * w
        if self.clip_gradient:
            g = np.clip(g, -self.clip_gradient, self.clip_gradient)

        # Update the moments and correct their bias by each scalar's own count
        self.t = np.where(active, self.t + 1, self.t)
        self.m = np.where(active, self.beta1 * self.m + (1 - self.beta1) * g, self.m)
        self.v = np.where(active, self.beta2 * self.v + (1 - self.beta2) * g * g, self.v)
        t = np.maximum(self.t, 1)
        rate = self.learning_rate * np.where(matrix, 1.0, self.non_matrix_factor)
        rate = rate * np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)

        # Bound the step by the optimizer's count instead of the scalar's
        with np.errstate(divide="ignore", invalid="ignore"):
            effective = np.nan_to_num(rate / (np.sqrt(self.v) + self.epsilon))
        if self.adabound:
            speed = (1 - self.beta2) * self.steps
            effective = np.clip(effective, 0.1 - 0.1 / (speed + 1), 0.1 + 0.1 / speed)

        # Decay by the corrected rate, move, clip
        decayed = (1 - self.relative_decay * rate) * w - np.copysign(self.absolute_decay * rate, w)
        moved = decayed - effective * self.m
        if self.clip_weight:
            moved = np.clip(moved, -self.clip_weight, self.clip_weight)
        return np.where(active, moved, w)


class Sgd(Optimizer):
    """Gradient descent; its l2_reg applies to every parameter, and no parameter is skipped."""

    def __init__(self, config: dict) -> None:
        self.learning_rate = _float(config.get("learning_rate", 1e-3))
        self.l2_reg = _float(config.get("l2_reg", 1e-8))

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        self.steps += 1
        return w - self.learning_rate * (g + self.l2_reg * w)


class Wrapper(Optimizer):
    """An optimizer around another one: rate, step count and inference weights are the nested ones unless a subclass differs."""

    def __init__(self, nested: Optimizer) -> None:
        self.nested = nested

    @property
    def learning_rate(self) -> float:
        return self.nested.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.nested.learning_rate = value

    @property
    def steps(self) -> int:
        return self.nested.steps

    @property
    def custom(self) -> np.ndarray | None:
        return self.nested.custom

    @custom.setter
    def custom(self, value: np.ndarray) -> None:
        raise AttributeError("the inference weights of this wrapper are those of the nested optimizer")


class Ema(Wrapper):
    """Debiased exponential average of the nested optimizer's inference weights."""

    custom = None

    def __init__(self, config: dict, nested: Optimizer) -> None:
        super().__init__(nested)
        self.decay = _float(config.get("decay", 0.99))

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        w = self.nested.step(w, g)
        source = w if self.nested.custom is None else self.nested.custom
        old = np.zeros_like(w) if self.custom is None else self.custom
        t, d = self.steps, self.decay
        self.custom = (old * d * (1 - d ** (t - 1)) + source * (1 - d)) / (1 - d**t)
        return w


class ExponentialDecay(Wrapper):
    """Multiplies the nested learning rate by `decay_base` in every `decay_interval`-th step from start to end, both included."""

    def __init__(self, config: dict, nested: Optimizer) -> None:
        super().__init__(nested)
        self.decay_base = _float(config.get("decay_base", 0.1))
        self.interval = config.get("decay_interval", 10000)
        self.start = config.get("decay_start", 10000)
        self.end = config.get("decay_end", 10000000)
        self.base, self.factor = nested.learning_rate, 1.0

    @property
    def learning_rate(self) -> float:
        return self.base * self.factor

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.base = value / self.factor
        self.nested.learning_rate = value

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        # The number of completed steps decides: with start 0 the very first step is decayed
        done = self.nested.steps
        if self.start <= done <= self.end and (done - self.start) % self.interval == 0:
            self.factor *= self.decay_base
        self.nested.learning_rate = self.base * self.factor
        return self.nested.step(w, g)


class Lookahead(Wrapper):
    """Slow weights for inference: before every `n_steps`-th nested step they move to the fast ones, which restart from them."""

    custom = None

    def __init__(self, config: dict, nested: Optimizer) -> None:
        super().__init__(nested)
        self.alpha, self.n_steps = _float(config.get("alpha", 0.5)), config.get("n_steps", 16)

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        if self.nested.steps == 0:
            self.custom = w.copy()
        if self.nested.steps % self.n_steps == 0:
            w = self.custom * (1 - self.alpha) + w * self.alpha
            self.custom = w.copy()
        return self.nested.step(w, g)


class Batched(Wrapper):
    """Steps the nested optimizer once per `batch_size_multiplier` calls, with the mean gradient; counts calls."""

    steps = 0

    def __init__(self, config: dict, nested: Optimizer) -> None:
        super().__init__(nested)
        self.multiplier = config.get("batch_size_multiplier", 16)
        self.pool = None

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        if self.steps % self.multiplier == 0:
            self.pool = np.zeros_like(g)
        self.pool = self.pool + g / self.multiplier
        self.steps += 1
        return self.nested.step(w, self.pool) if self.steps % self.multiplier == 0 else w


class Average(Wrapper):
    """Mean of the trained weights of the last `n_samples` steps; steps before the first count as zero weights."""

    custom = None

    def __init__(self, config: dict, nested: Optimizer) -> None:
        super().__init__(nested)
        self.n_samples = config.get("n_samples", 128)
        self.samples = []

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        w = self.nested.step(w, g)
        self.samples = [*self.samples, w][-self.n_samples :]
        self.custom = np.sum(self.samples, axis=0) / self.n_samples
        return w


class Composite(Optimizer):
    """Optimizers for consecutive parts of `n_params_to_optimize` parameters each; the rest is not trained."""

    def __init__(self, parts: list[tuple[int, Optimizer]]) -> None:
        self.parts = parts
        self.base_rates = [part.learning_rate for _, part in parts]
        self.factor = 1.0

    @property
    def learning_rate(self) -> float:
        return self.factor

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.factor = value
        for base, (_, part) in zip(self.base_rates, self.parts, strict=True):
            part.learning_rate = base * value

    @property
    def steps(self) -> int:
        return self.parts[0][1].steps

    def _step(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        inference, offset = w.copy(), 0
        for size, part in self.parts:
            piece = slice(offset, offset + size)
            w[piece] = part.step(w[piece], g[piece])
            inference[piece] = part.inference_weights
            offset += size
        if any(part.custom is not None for _, part in self.parts):
            self.custom = inference
        return w


def optimizer(config: dict, n_matrix_params: int, n_params: int) -> Optimizer:
    """The optimizer of a configuration for `n_params` parameters, the first `n_matrix_params` of which belong to matrices."""
    name = config.get("otype", "Adam").lower()
    if name == "adam":
        return Adam(config, n_matrix_params)
    if name == "sgd":
        return Sgd(config)
    if name == "composite":
        parts, offset = [], 0
        for nested in config["nested"]:
            size = nested.get("n_params_to_optimize", 0)
            n_matrix = min(max(n_matrix_params - offset, 0), size)
            parts.append((size, optimizer(nested, n_matrix, size)))
            offset += size
        if offset > n_params:
            raise ValueError("the nested optimizers take more parameters than there are")
        return Composite(parts)
    wrappers = {
        "average": Average,
        "batched": Batched,
        "ema": Ema,
        "exponentialdecay": ExponentialDecay,
        "lookahead": Lookahead,
    }
    nested = optimizer(config.get("nested", {}), n_matrix_params, n_params)
    return wrappers[name](config, nested)
