"""The multilayer perceptron: no biases, padded widths, and row-major [out, in] matrices."""

import numpy as np

ALIGNMENT = 16
# The factor K_ACT of Squareplus and Softplus
K = 10.0

FULLY_FUSED = {"fullyfusedmlp", "megakernelmlp"}
ACTIVATIONS = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leakyrelu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x * _logistic(x),
    "exponential": np.exp,
    "sine": np.sin,
    "sigmoid": lambda x: _logistic(x),
    "squareplus": lambda x: (K * x + np.sqrt((K * x) ** 2 + 4)) / 2 / K,
    "softplus": lambda x: np.logaddexp(0, K * x) / K,
    "tanh": np.tanh,
}


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def padded(width: int) -> int:
    return -(-width // ALIGNMENT) * ALIGNMENT


def activate(name: str, x: np.ndarray) -> np.ndarray:
    """Apply an activation, given by its JSON name, in float64."""
    return ACTIVATIONS[name.lower()](np.asarray(x, np.float64))


def network_shapes(config: dict, n_in_padded: int, n_out: int) -> list[tuple[int, int]]:
    """(rows, columns) of the matrices in the order of the flat parameters: first, hidden, last."""
    width, hidden = config.get("n_neurons", 128), config.get("n_hidden_layers", 5)
    if config.get("otype", "MLP").lower() in FULLY_FUSED and (hidden < 1 or width not in {16, 32, 64, 128}):
        raise ValueError("FullyFusedMLP has one hidden layer or more, of 16, 32, 64 or 128 neurons")
    if hidden == 0:
        return [(padded(n_out), n_in_padded)]
    return [(width, n_in_padded), *[(width, width)] * (hidden - 1), (padded(n_out), width)]


def network(
    config: dict, n_in: int, n_out: int, weights: np.ndarray, x: np.ndarray, padding: float = 1.0
) -> np.ndarray:
    """float64 [N, n_in] to float64 [N, n_out]; inputs are filled up to a multiple of 16 with `padding`."""
    value = np.asarray(x, np.float64)
    fill = np.full((len(value), padded(n_in) - n_in), padding, np.float64)
    value = np.concatenate((value, fill), axis=1)
    shapes = network_shapes(config, padded(n_in), n_out)
    flat, offset = np.asarray(weights, np.float64), 0
    for i, (rows, columns) in enumerate(shapes):
        matrix = flat[offset : offset + rows * columns].reshape(rows, columns)
        offset += rows * columns
        last = i == len(shapes) - 1
        name = config.get("output_activation", "None") if last else config.get("activation", "ReLU")
        value = activate(name, value @ matrix.T)
    if offset != flat.size:
        raise ValueError(f"the network has {offset} weights, not {flat.size}")
    return value[:, :n_out]
