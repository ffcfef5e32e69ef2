"""Configuration of networks, losses, and of a whole model with its training."""

from __future__ import annotations

from typing import Annotated

import msgspec

from nrc_tracer.nn.config.encodings import Encoding, OneBlob
from nrc_tracer.nn.config.optimizers import Adam, Optimizer
from nrc_tracer.nn.config.part import Misfit, Part, Typed, expect
from nrc_tracer.nn.config.rules import Choice, Integer, Number, listed

FUSED_WIDTHS = (16, 32, 64, 128)
"""Widths of a FullyFusedMLP."""

HUBER_DELTA = 0.1
"""Default `delta` of the Huber loss."""

_ACTIVATION = Choice(
    "activation",
    ("None", "ReLU", "LeakyReLU", "SiLU", "Exponential", "Sine", "Sigmoid", "Squareplus", "Softplus", "Tanh"),
)
_ALIASES = {"MLP": "CutlassMLP", "MegakernelMLP": "FullyFusedMLP"}
_MLP = Choice("network", ("FullyFusedMLP", "CutlassMLP"), _ALIASES)
NETWORK_OTYPE = Choice("network", ("FullyFusedMLP", "CutlassMLP", "RadianceField"), _ALIASES)
_LOSS = Choice(
    "loss",
    ("L1", "L2", "RelativeL1", "RelativeL2", "RelativeL2Luminance", "MAPE", "SMAPE", "CrossEntropy", "Huber"),
    refused=("Variance",),
)


class Network(Part, frozen=True, kw_only=True):
    """A multilayer perceptron without biases.

    Args:
        otype: "FullyFusedMLP" or "CutlassMLP".
        activation: Activation of the hidden layers: "None", "ReLU", "LeakyReLU", "SiLU", "Exponential", "Sine", "Sigmoid",
            "Squareplus", "Softplus" or "Tanh".
        output_activation: Activation of the output, one of the same names.
        n_neurons: Width of the hidden layers, 1 to 65536; 16, 32, 64 or 128 with FullyFusedMLP.
        n_hidden_layers: Number of hidden layers, 0 to 1024; at least 1 with FullyFusedMLP.
    """

    otype: Annotated[str, _MLP] = "CutlassMLP"
    activation: Annotated[str, _ACTIVATION] = "ReLU"
    output_activation: Annotated[str, _ACTIVATION] = "None"
    n_neurons: Annotated[int, Integer(1, 65536)] = 128
    n_hidden_layers: Annotated[int, Integer(0, 1024)] = 5

    def relate(self) -> None:
        if self.otype != "FullyFusedMLP":
            return
        if self.n_neurons not in FUSED_WIDTHS:
            problem = f"expected {listed(FUSED_WIDTHS)} with FullyFusedMLP, got {self.n_neurons}; use CutlassMLP for other widths"
            raise Misfit(self, "n_neurons", problem)
        if self.n_hidden_layers < 1:
            problem = "expected at least 1 with FullyFusedMLP, got 0; use CutlassMLP for none"
            raise Misfit(self, "n_hidden_layers", problem)


class RadianceField(Typed, frozen=True, kw_only=True, tag="RadianceField"):
    """The two networks of a radiance field (Mueller et al. 2022, section 5.4); tiny-cuda-nn has no such `otype`.

    The encoding is a Composite of an encoding of the position and one of the direction. `density` maps the features of the
    position to 16 numbers, of which the first is the density before its activation; `rgb` maps these and the features of the
    direction to a colour.

    Args:
        density: The density network.
        rgb: The colour network.
    """

    density: Network = Network(otype="FullyFusedMLP", n_neurons=64, n_hidden_layers=1)
    rgb: Network = Network(otype="FullyFusedMLP", n_neurons=64, n_hidden_layers=2)

    def relate(self) -> None:
        expect(self, "density", Network, "a network")
        expect(self, "rgb", Network, "a network")


class Loss(Part, frozen=True, kw_only=True):
    """The loss that training minimizes.

    Args:
        otype: "L1", "L2", "RelativeL1", "RelativeL2", "RelativeL2Luminance", "MAPE", "SMAPE", "CrossEntropy" or
            "Huber" (not in tiny-cuda-nn).
        delta: The difference at which Huber changes from quadratic to linear, above 0; only Huber has it.
    """

    otype: Annotated[str, _LOSS] = "RelativeL2"
    delta: Annotated[float, Number(0, above=True)] = HUBER_DELTA

    def relate(self) -> None:
        if self.otype != "Huber" and self.delta != HUBER_DELTA:
            raise Misfit(self, "delta", f"only Huber has it, not {self.otype}; leave it out")


class ModelConfig(Part, frozen=True, kw_only=True):
    """A model and its training. Defaults are those of tiny-cuda-nn for missing sections.

    Args:
        encoding: The encoding of the inputs.
        network: The network after the encoding; None for an encoding alone.
        loss: The loss.
        optimizer: The optimizer.
    """

    encoding: Encoding = msgspec.field(default_factory=OneBlob)
    network: Network | RadianceField | None = msgspec.field(default_factory=Network)
    loss: Loss = msgspec.field(default_factory=Loss)
    optimizer: Optimizer = msgspec.field(default_factory=Adam)

    def relate(self) -> None:
        expect(self, "encoding", Encoding, "an encoding")
        expect(self, "network", Network | RadianceField | None, "a network or None")
        expect(self, "loss", Loss, "a loss")
        expect(self, "optimizer", Optimizer, "an optimizer")


def networks(config: ModelConfig) -> tuple[Network, ...]:
    """All networks of a model: none, one, or the two of a radiance field."""
    if isinstance(config.network, RadianceField):
        return config.network.density, config.network.rgb
    return () if config.network is None else (config.network,)
