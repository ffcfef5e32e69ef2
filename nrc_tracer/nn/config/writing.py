"""Converting the parts of a configuration to JSON data."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.config.encodings import Composite, Encoding
from nrc_tracer.nn.config.model import Loss, ModelConfig, Network, RadianceField
from nrc_tracer.nn.config.optimizers import Adam, CompositeOptimizer, Optimizer, Wrapper
from nrc_tracer.nn.config.part import Part
from nrc_tracer.nn.config.rules import shown

_NESTED_KEYS = ("n_dims_to_encode", "dims_to_encode_begin")


def to_json(part: ModelConfig | Encoding | Network | RadianceField | Loss | Optimizer) -> dict[str, Any]:
    """Return a part as JSON data with all its keys. Reading the data gives an equal part.

    Raises:
        ConfigError: It is not a configuration or a section of one.
    """
    if isinstance(part, ModelConfig):
        sections = {name: getattr(part, name) for name in part.__struct_fields__}
        return {name: None if section is None else to_json(section) for name, section in sections.items()}
    if not isinstance(part, Encoding | Network | RadianceField | Loss | Optimizer):
        raise ConfigError(f"expected a configuration or a part of one, got {shown(part)}")
    data = {"otype": getattr(part, "otype", part.__struct_config__.tag)}
    data |= {name: getattr(part, name) for name in part.__struct_fields__}
    if isinstance(part, Loss) and part.otype != "Huber":
        del data["delta"]
    elif isinstance(part, Adam) and part.moments == "float32":  # tiny-cuda-nn does not have this key
        del data["moments"]
    elif isinstance(part, RadianceField):
        data |= {"density": to_json(part.density), "rgb": to_json(part.rgb)}
    elif isinstance(part, Wrapper):
        data["nested"] = to_json(part.nested)
    elif isinstance(part, Composite):
        data["nested"] = [to_json(nested.encoding) | _present(nested, _NESTED_KEYS) for nested in part.nested]
    elif isinstance(part, CompositeOptimizer):
        data["nested"] = [
            to_json(nested.optimizer) | _present(nested, ("n_params_to_optimize",)) for nested in part.nested
        ]
    return data


def _present(part: Part, names: Collection[str]) -> dict[str, Any]:
    return {name: getattr(part, name) for name in names if getattr(part, name) is not None}
