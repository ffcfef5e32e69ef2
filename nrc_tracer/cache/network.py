"""The cache's network: its configuration, the weights it starts with, and its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from msgspec.structs import replace

from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.options import CacheOptions
from nrc_tracer.errors import CacheError, ConfigError
from nrc_tracer.nn import Model, Trainer
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.forms import FORMS

_STARTS = {"None": 1.0, "ReLU": 1.0, "LeakyReLU": 1.0, "Softplus": 0.9999954600, "Squareplus": 0.99, "Exponential": 0.0}
"""Argument at which each output activation is 1."""


@dataclass(frozen=True)
class Network:
    """A network and its training.

    Attributes:
        model: The network.
        trainer: Its training.
        learning_rate: Learning rate of the configuration.
    """

    model: Model
    trainer: Trainer
    learning_rate: float

    @classmethod
    def build(
        cls,
        options: CacheOptions,
        config: configuration.ModelConfig,
        *,
        device: str | torch.device,
        threads: int | None,
        seed: int,
        precision: str,
        form: str = "auto",
    ) -> Network:
        """Make a network with random weights, whose output is 1 where its activations allow it; `form` is that of `Model`.

        Raises:
            ConfigError, CacheError: Configuration and options do not fit together, or the loss is not for radiance.
            DeviceError: The device is not available.
        """
        model = Model(
            FEATURES,
            3,
            config,
            device=device,
            threads=threads,
            seed=seed % 2**32,
            backend=options.backend,
            precision=precision,
            deterministic=options.deterministic,
            fused=options.fused,
            form=form,
        )
        trainer = _make_trainer(model, options)
        _start_at_one(model)
        return cls(model, trainer, trainer.learning_rate)

    def like_new(self, options: CacheOptions) -> Network:
        """Another network with the same configuration, untrained, on the same device."""
        model = self.model
        return Network.build(
            options,
            model.config,
            device=model.device,
            threads=model.threads,
            seed=0,
            precision=model.precision,
            form=model.form if model.form in FORMS else "auto",
        )

    def with_new_training(self, options: CacheOptions) -> Network:
        """The same network, with a new optimizer, which has no moments of earlier gradients."""
        return Network(self.model, _make_trainer(self.model, options), self.learning_rate)


def _make_trainer(model: Model, options: CacheOptions) -> Trainer:
    try:
        return Trainer(model, capturable=options.fused)
    except ConfigError as error:
        raise CacheError(str(error).replace("capturable:", "fused:")) from error


def network_config(options: CacheOptions, size: float) -> configuration.ModelConfig:
    """The configuration of the network for a scene in a cube with edges of `size` [scene units].

    The cells of its finest grid are not smaller than the option `feature_size`.
    """
    config = configuration.read_model(options.document(), n_input_dims=FEATURES)
    if options.feature_size is None:
        return config
    finest = max(1.0, size / options.feature_size)
    return replace(config, encoding=_bounded(config.encoding, finest))


def _bounded(encoding: Any, finest: float) -> Any:
    """The encoding with grids of a resolution of at most `finest`."""
    nested = getattr(encoding, "nested", None)
    if nested is not None:
        parts = (replace(part, encoding=_bounded(part.encoding, finest)) for part in nested)
        return replace(encoding, nested=tuple(parts))
    if not hasattr(encoding, "per_level_scale") or encoding.n_levels < 2:
        return encoding
    most = max(1.0, finest / encoding.base_resolution) ** (1.0 / (encoding.n_levels - 1))
    return replace(encoding, per_level_scale=min(encoding.per_level_scale, max(most, 1.0)))


def _start_at_one(model: Model) -> None:
    """Set weights with which the network's output is 1 for every input, where its activations allow it.

    It has no biases, but the inputs that pad its width are 1. One neuron of each layer passes that on, to the output alone; the
    other weights start as usual, and all are trained.
    """
    network, config = model.network, model.config.network
    if network is None or not isinstance(config, configuration.Network):
        return
    argument = _STARTS.get(config.output_activation)
    if argument is None or config.activation not in ("ReLU", "None", "LeakyReLU") or not _has_constant_input(model):
        return
    last = network.n_layers - 1
    for index in range(last):
        weights = network.layer(index)
        weights[0].zero_()
        weights[0, -1 if index == 0 else 0] = 1.0
    output = network.layer(last)
    output.zero_()
    output[: network.structure.n_output_dims, 0 if last > 0 else -1] = argument


def _has_constant_input(model: Model) -> bool:
    """Whether the network's last input is 1, as where an encoding is padded to the network's width."""
    structure = model.structure
    x = torch.linspace(0.1, 0.9, 2 * FEATURES).view(2, FEATURES).to(model.device)
    encoded = structure.encoding.reference(x, structure.split(model.params)[1], structure.width)
    return bool((encoded[:, -1] == 1.0).all())
