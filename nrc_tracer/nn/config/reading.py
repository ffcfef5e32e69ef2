"""Reading configurations and their sections from files or JSON data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nrc_tracer.nn.config.dialects import Dialect
from nrc_tracer.nn.config.document import read_document
from nrc_tracer.nn.config.encodings import Encoding
from nrc_tracer.nn.config.model import Loss, ModelConfig, Network, RadianceField
from nrc_tracer.nn.config.optimizers import Optimizer
from nrc_tracer.nn.config.reader import Reader
from nrc_tracer.nn.config.rules import Integer, Nullable

Source = str | os.PathLike[str] | Mapping[str, Any]


def read_model(
    source: Source | ModelConfig,
    *,
    dialect: str = "tiny-cuda-nn",
    n_input_dims: int | None = None,
    aabb_scale: float = 1.0,
    image_resolution: Sequence[int] | None = None,
) -> ModelConfig:
    """Read a configuration's encoding, network, loss and optimizer; missing ones are tiny-cuda-nn's defaults.

    A network that is null means an encoding alone. Other sections of instant-ngp's files are ignored here: see `read_document`,
    `read_encoding` and `read_network`.

    Args:
        source: A file, its data (see `read_document`), or a configuration, which is returned as it is.
        dialect: "tiny-cuda-nn", or "instant-ngp": grids without `per_level_scale` grow to a resolution of 2048 * `aabb_scale`,
            for an image to half its larger side; grids without `log2_hashmap_size` have 15.
        n_input_dims: Number of input dimensions; if given, the encoding is checked with it.
        aabb_scale: Size of the scene's box in unit cubes.
        image_resolution: Width and height [pixels] of the image to fit.

    Raises:
        ConfigError: An error of `read_document`, or a value is not allowed; the message names its place.

    Warns:
        ConfigWarning: A key that nothing reads, with its place and the nearest known key.
    """
    file = None if isinstance(source, Mapping | ModelConfig) else source
    reader = Reader(Dialect(dialect, aabb_scale, image_resolution), file)
    document = source if isinstance(source, ModelConfig) else read_document(source)
    return reader.run(lambda: reader.model(document, _count(n_input_dims)))


def read_encoding(
    source: Mapping[str, Any] | Encoding,
    *,
    dialect: str = "tiny-cuda-nn",
    n_input_dims: int | None = None,
    aabb_scale: float = 1.0,
    image_resolution: Sequence[int] | None = None,
    place: str = "encoding",
    file: str | os.PathLike[str] | None = None,
) -> Encoding:
    """Read an encoding; an `Encoding` is returned as it is. Arguments, errors and warnings as in `read_model`.

    `place` and `file` name the origin in messages: a NeRF configuration has a "dir_encoding" as well.
    """
    reader = Reader(Dialect(dialect, aabb_scale, image_resolution), file)
    return reader.run(lambda: reader.checked_encoding(source, place, _count(n_input_dims)))


def read_network(
    source: Mapping[str, Any] | Network | RadianceField,
    *,
    dialect: str = "tiny-cuda-nn",
    place: str = "network",
    file: str | os.PathLike[str] | None = None,
) -> Network | RadianceField:
    """Read a network; a `Network` is returned as it is. Arguments as in `read_encoding`."""
    reader = Reader(Dialect(dialect), file)
    return reader.run(lambda: reader.network(source, place))


def read_loss(
    source: Mapping[str, Any] | Loss,
    *,
    dialect: str = "tiny-cuda-nn",
    place: str = "loss",
    file: str | os.PathLike[str] | None = None,
) -> Loss:
    """Read a loss; a `Loss` is returned as it is. Arguments as in `read_encoding`."""
    reader = Reader(Dialect(dialect), file)
    return reader.run(lambda: reader.loss(source, place))


def read_optimizer(
    source: Mapping[str, Any] | Optimizer,
    *,
    dialect: str = "tiny-cuda-nn",
    place: str = "optimizer",
    file: str | os.PathLike[str] | None = None,
) -> Optimizer:
    """Read an optimizer; an `Optimizer` is returned as it is. Arguments as in `read_encoding`."""
    reader = Reader(Dialect(dialect), file)
    return reader.run(lambda: reader.optimizer(source, place))


def _count(n_input_dims: object) -> int | None:
    return Nullable(Integer(1)).read(n_input_dims, "n_input_dims")
