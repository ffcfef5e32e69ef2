"""The contents of a file of instant-ngp, and the models made from them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError, SnapshotError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.mlp import ALIGNMENT
from nrc_tracer.nn.model import Model
from nrc_tracer.nn.structure import Structure

DENSITY_OUTPUTS = 16
"""Outputs of the density network where the configuration does not give their number."""

DIMS = {"image": (2, 3), "sdf": (3, 1)}
"""Input and output columns of the models that have one network, by mode."""


@dataclass(frozen=True)
class IngpSnapshot:
    """The contents of a file of instant-ngp.

    Attributes:
        path: The file.
        document: The configuration and the program's state as plain data, without binary data and very large members.
        mode: `image`, `sdf`, `nerf` or `volume`; None if the file does not tell.
        params: Parameters for inference, float32 [n_params], on the CPU: network, then encoding; for a radiance field density
            network, colour network, encoding of positions, encoding of directions.
        params_type: Their type in the file, `__half` or `float`.
        aabb_scale: Size of the scene's box in unit cubes.
        n_extra_dims: Number of trained input columns per picture, which follow the direction.
        density_grid: float32 [cascades, side, side, side], on the CPU, indexed by x, y and z in instant-ngp's coordinates, or
            None. Negative values mark cells that no camera sees.
    """

    path: Path
    document: dict[str, Any]
    mode: str | None
    params: Tensor
    params_type: str
    aabb_scale: float
    n_extra_dims: int
    density_grid: Tensor | None = field(repr=False)

    def image_model(self, *, image_resolution: Sequence[int] | None = None, **options: Any) -> Model:
        """The model of an image, from [N, 2] in [0, 1] to [N, 3].

        Args:
            image_resolution: Width and height [pixels], which are not in the file. They determine the finest level if the
                configuration does not give the growth factor of levels.
            options: `device`, `backend`, `precision` and `threads` of `Model`.

        Raises:
            SnapshotError: The file holds another kind of model, or its configuration needs another number of parameters.
            ConfigError: This package does not support its configuration.
        """
        return self._single("image", image_resolution, options)

    def sdf_model(self, **options: Any) -> Model:
        """The model of an SDF, from [N, 3] in [0, 1] to [N, 1]. Options and errors as in `image_model`."""
        return self._single("sdf", None, options)

    def nerf_models(self, **options: Any) -> tuple[Model, Model]:
        """The two models of a radiance field. Options and errors as in `image_model`.

        Returns:
            Density: from [N, 3], positions in the scene's box scaled to [0, 1], to [N, 16], where column 0 is the logarithm of
            the density. Colour: from [N, 19 + n_extra_dims], these 16 columns, (v + 1) / 2 of the direction v and the trained
            columns, to [N, 3], before a sigmoid, or before exp in scenes of high dynamic range.
        """
        self._expect("nerf", "nerf_models")
        document, file = self.document, self.path
        if "dir_encoding" not in document:
            raise SnapshotError(f'{file}: its configuration has no "dir_encoding", which a radiance field needs')
        n_directions = 3 + self.n_extra_dims
        position = self._encoding("encoding", 3, None)
        direction = self._encoding("dir_encoding", n_directions, None)
        density_network, colour_network = self._network("network"), self._network("rgb_network")

        # The colour network also takes the padding of the density network's output
        n_density = -(-self._density_outputs() // ALIGNMENT) * ALIGNMENT
        colour_encoding = configuration.Composite(
            nested=(
                configuration.Nested(encoding=configuration.Identity(), n_dims_to_encode=n_density),
                configuration.Nested(encoding=direction, n_dims_to_encode=n_directions),
            )
        )
        training = self._training()
        density_config = configuration.ModelConfig(encoding=position, network=density_network, **training)
        colour_config = configuration.ModelConfig(encoding=colour_encoding, network=colour_network, **training)
        density = Structure(3, n_density, position, density_network)
        colour = Structure(n_density + n_directions, 3, colour_encoding, colour_network)
        self._check_count(density.n_params + colour.n_params)

        # Density network, colour network, encoding of positions, encoding of directions
        sizes = [density.n_matrix_params, colour.n_matrix_params, density.encoding.n_params, colour.encoding.n_params]
        density_weights, colour_weights, position_params, direction_params = self.params.split(sizes)
        density_params = torch.cat((density_weights, position_params))
        colour_params = torch.cat((colour_weights, direction_params))
        return (
            Model(density.n_input_dims, n_density, density_config, params=density_params, **options),
            Model(colour.n_input_dims, 3, colour_config, params=colour_params, **options),
        )

    def _single(self, mode: str, image_resolution: Sequence[int] | None, options: Mapping[str, Any]) -> Model:
        self._expect(mode, f"{mode}_model")
        n_input_dims, n_output_dims = DIMS[mode]
        encoding = self._encoding("encoding", n_input_dims, image_resolution)
        network = self._network("network")
        hint = ""
        if mode == "image" and image_resolution is None:
            hint = "; if its levels depend on the size of the image, give image_resolution"
        self._check_count(Structure(n_input_dims, n_output_dims, encoding, network).n_params, hint)
        config = configuration.ModelConfig(encoding=encoding, network=network, **self._training())
        return Model(n_input_dims, n_output_dims, config, params=self.params, **options)

    def _expect(self, mode: str, method: str) -> None:
        if self.mode not in (mode, None):
            right = {"image": "image_model", "sdf": "sdf_model", "nerf": "nerf_models"}.get(self.mode)
            hint = f"use {right}" if right else "which is not supported"
            raise SnapshotError(f"{self.path}: {method}: holds a model of mode {self.mode[:40]!r}, {hint}")

    def _encoding(self, key: str, n_input_dims: int, image_resolution: Sequence[int] | None) -> configuration.Encoding:
        return configuration.read_encoding(
            self.document.get(key, {}),
            dialect="instant-ngp",
            n_input_dims=n_input_dims,
            aabb_scale=self.aabb_scale,
            image_resolution=image_resolution,
            place=key,
            file=self.path,
        )

    def _training(self) -> dict[str, Any]:
        """Loss and optimizer. A model does not need them, so unsupported ones are replaced by the defaults with a warning."""
        parts: dict[str, Any] = {}
        for key, read in (("loss", configuration.read_loss), ("optimizer", configuration.read_optimizer)):
            try:
                parts[key] = read(self.document.get(key, {}), dialect="instant-ngp", file=self.path)
            except ConfigError as error:
                warnings.warn(f"{error}; using the default instead", configuration.ConfigWarning, stacklevel=4)
        return parts

    def _density_outputs(self) -> int:
        network = self.document.get("network")
        value = network.get("n_output_dims", DENSITY_OUTPUTS) if isinstance(network, dict) else DENSITY_OUTPUTS
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**16:
            raise SnapshotError(f"{self.path}: network.n_output_dims: expected an integer from 1 to {2**16}")
        return value

    def _network(self, key: str) -> configuration.Network:
        network = configuration.read_network(
            self.document.get(key, {}), dialect="instant-ngp", place=key, file=self.path
        )
        if not isinstance(network, configuration.Network):
            raise SnapshotError(f"{self.path}: {key}: expected one network, got a RadianceField")
        # Before a list is made of the layers: each has parameters
        if network.n_hidden_layers > len(self.params):
            raise SnapshotError(
                f"{self.path}: {key}: {network.n_hidden_layers} layers, but only {len(self.params)} parameters"
            )
        return network

    def _check_count(self, expected: int, hint: str = "") -> None:
        if expected != len(self.params):
            raise SnapshotError(
                f"{self.path}: holds {len(self.params)} parameters, but its configuration describes a model with {expected}{hint}"
            )
