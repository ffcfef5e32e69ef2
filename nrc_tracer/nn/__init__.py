"""Encodings and small networks, compatible with tiny-cuda-nn, on any CPU and any CUDA GPU.

    import nrc_tracer.nn as nn

    model = nn.Model(n_input_dims=3, n_output_dims=1, config="config_hash.json")
    trainer = nn.Trainer(model)
    loss = trainer.step(x, target)
    y = model(x)
    model.save("model.safetensors")

`nrc_tracer.nn.tinycudann` has the interface of tiny-cuda-nn's own Python package, for code that was written for it. The names
below are loaded when first used, so that configurations can be read without loading torch and Warp.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrc_tracer.nn.model import Model
    from nrc_tracer.nn.snapshot import load_model as load
    from nrc_tracer.nn.snapshot import load_training
    from nrc_tracer.nn.snapshot_writing import save_training
    from nrc_tracer.nn.trainer import Trainer

__all__ = ["Model", "Trainer", "load", "load_training", "save_training"]

_HOMES = {
    "Model": ("model", "Model"),
    "Trainer": ("trainer", "Trainer"),
    "load": ("snapshot", "load_model"),
    "load_training": ("snapshot", "load_training"),
    "save_training": ("snapshot_writing", "save_training"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module "{__name__}" has no attribute "{name}"')
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
