"""Making the encoding that a configuration describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.encodings.composite import CompositeEncoding
from nrc_tracer.nn.encodings.empty import EmptyEncoding
from nrc_tracer.nn.encodings.encoding import Encoding
from nrc_tracer.nn.encodings.frequency import FrequencyEncoding
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.encodings.identity import IdentityEncoding
from nrc_tracer.nn.encodings.one_blob import OneBlobEncoding
from nrc_tracer.nn.encodings.spherical_harmonics import SphericalHarmonicsEncoding
from nrc_tracer.nn.encodings.triangle_wave import TriangleWaveEncoding

_CLASSES: dict[type, Callable[[Any, int], Encoding]] = {
    configuration.Empty: EmptyEncoding,
    configuration.Frequency: FrequencyEncoding,
    configuration.Grid: GridEncoding,
    configuration.Identity: IdentityEncoding,
    configuration.OneBlob: OneBlobEncoding,
    configuration.SphericalHarmonics: SphericalHarmonicsEncoding,
    configuration.TriangleWave: TriangleWaveEncoding,
}


def build_encoding(config: configuration.Encoding, n_input_dims: int) -> Encoding:
    """The encoding that a configuration describes, for `n_input_dims` input columns.

    Raises:
        ConfigError: It cannot take that number of dimensions, or would have too many parameters.
    """
    configuration.check_input_dims(config, n_input_dims)
    if not isinstance(config, configuration.Composite):
        return _CLASSES[type(config)](config, n_input_dims)
    nested, begins = [], []
    for entry, (begin, size) in zip(config.nested, configuration.input_slices(config, n_input_dims), strict=True):
        if size:
            nested.append(build_encoding(entry.encoding, size))
            begins.append(begin)
    return CompositeEncoding(config, n_input_dims, nested, begins)
