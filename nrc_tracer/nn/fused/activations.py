"""The activation functions in C++, with derivatives that are computed from their results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Expressions:
    """An activation as C++ expressions of floats.

    Attributes:
        value: The result for the argument `z`.
        backward: The gradient with respect to z, from the gradient `d` with respect to the result and the result `h`. NaN stays
            NaN.
    """

    value: str
    backward: str


EXPRESSIONS = {
    "None": Expressions("z", "d"),
    "ReLU": Expressions("(z < 0.0f ? 0.0f : z)", "(h > 0.0f ? d : 0.0f)"),
    "LeakyReLU": Expressions("(z < 0.0f ? 0.01f * z : z)", "(h > 0.0f ? d : 0.01f * d)"),
    "Exponential": Expressions("wp::exp(z)", "d * h"),
    "Sigmoid": Expressions("1.0f / (1.0f + wp::exp(-z))", "d * h * (1.0f - h)"),
    # Negative arguments by the conjugate form, without cancellation
    "Squareplus": Expressions(
        "(z < 0.0f ? 0.02f / (wp::sqrt(z * z + 0.04f) - z) : 0.5f * (z + wp::sqrt(z * z + 0.04f)))",
        "d / (1.0f + 1.0f / (100.0f * h * h))",
    ),
    "Softplus": Expressions(
        "(z > 6.0f ? z : 0.1f * wp::log(1.0f + wp::exp(10.0f * z)))", "d * (1.0f - wp::exp(-10.0f * h))"
    ),
    "Tanh": Expressions("wp::tanh(z)", "d * (1.0f - h * h)"),
}
"""The expressions by name. SiLU and Sine are missing: their derivatives need arguments, which are not kept."""
