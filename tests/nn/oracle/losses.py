"""Losses: the mean over elements, and its gradient with respect to the prediction."""

import numpy as np

EPSILON = 0.01
LUMINANCE = np.array([0.299, 0.587, 0.114])


def loss(
    config: dict, prediction: np.ndarray, target: np.ndarray, pdf: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """(mean, gradient [N, C]) for prediction and target [N, C].

    Every element is divided by its own `pdf`, which is broadcast to [N, C]. No gradient passes through denominators. A
    difference of zero has the gradient of its sign bit, as by `copysign`.
    """
    name = config.get("otype", "RelativeL2").lower()
    p, t = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    d = p - t
    if name == "l1":
        value, gradient = _absolute(d, 1.0)
    elif name == "l2":
        value, gradient = _squared(d, 1.0)
    elif name == "relativel1":
        value, gradient = _absolute(d, np.abs(p) + EPSILON)
    elif name == "relativel2":
        value, gradient = _squared(d, p * p + EPSILON)
    elif name == "relativel2luminance":
        value, gradient = _squared(d, _luminance(p)[:, None] ** 2 + EPSILON)
    elif name == "mape":
        value, gradient = _absolute(d, np.abs(t) + EPSILON)
    elif name == "smape":
        value, gradient = _absolute(d, (np.abs(t) + np.abs(p)) / 2 + EPSILON)
    elif name == "crossentropy":
        value, gradient = -t * np.log(p), -t / p
    elif name == "huber":
        value, gradient = _huber(d, config.get("delta", 0.1))
    else:
        raise ValueError(f"no loss {name!r}")
    weight = 1.0 / d.size / (1.0 if pdf is None else np.asarray(pdf, np.float64))
    return float(np.sum(value * weight)), gradient * weight


def _absolute(d: np.ndarray, denominator: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    return np.abs(d) / denominator, np.copysign(1.0, d) / denominator


def _squared(d: np.ndarray, denominator: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    return d * d / denominator, 2 * d / denominator


def _luminance(p: np.ndarray) -> np.ndarray:
    if p.shape[1] < 3:
        raise ValueError("RelativeL2Luminance needs at least three outputs")
    rgb = p[:, :3] + (p[:, 3:6] if p.shape[1] >= 6 else 0.0)
    return rgb @ LUMINANCE


def _huber(d: np.ndarray, delta: float) -> tuple[np.ndarray, np.ndarray]:
    inside = np.abs(d) <= delta
    value = np.where(inside, d * d / (2 * delta), np.abs(d) - delta / 2)
    return value / 5, np.where(inside, d / delta, np.sign(d)) / 5
