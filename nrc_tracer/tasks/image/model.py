"""The default model of an image, chosen by its size: table, finest grid and loss."""

from __future__ import annotations

import json
import math
from typing import Any

from nrc_tracer.errors import DataError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.structure import Structure
from nrc_tracer.tasks.image.memory import format_size
from nrc_tracer.tasks.image.pixels import Space

LEVELS, FEATURES, COARSEST = 16, 2, 16
MIN_LOG2_TABLE, MAX_LOG2_TABLE = 12, 24
PIXELS_PER_ENTRY = 8
"""Pixels per table entry of a level; the table size is rounded down to a power of two, and is at most 2^24."""

RESERVED_BYTES = 560 * 2**20
"""Memory in bytes that the libraries, the network's batches and an image's bands take besides pixels and parameters."""
LARGE_TABLE = 22
"""Binary logarithm of the number of table entries from which on Adam keeps its moments as bfloat16, as it also does if memory is
short. On the CPU a parameter then takes 12 bytes in all instead of 18."""
STATE_BYTES = {("cpu", False): 18, ("cpu", True): 12, ("cuda", False): 20, ("cuda", True): 14}
"""Bytes per parameter in training, by device and by whether moments are bfloat16: the parameter (4), moments (8 or 4), step count
(4 or 2), and the gradient's place on the CPU (2, for two features per entry) or the gradient on CUDA (4)."""
STATE_SHARE = 0.7
"""Fraction of the memory budget, less the reserved bytes, that the parameters in training may take."""


def image_config(
    width: int, height: int, *, space: Space, floating: bool, memory: int | None = None, device: str = "cpu"
) -> dict[str, Any]:
    """tiny-cuda-nn's JSON for an image.

    Args:
        width, height: Size in pixels.
        space: Colour space of training.
        floating: Whether the image has linear floating-point samples.
        memory: Memory budget in bytes; if None, the number of pixels alone determines the size of the table.
        device: `cpu` or `cuda`.
    """
    log2_table = math.floor(math.log2(max(width * height, 1) / PIXELS_PER_ENTRY))
    log2_table = min(max(log2_table, MIN_LOG2_TABLE), MAX_LOG2_TABLE)
    loss = "RelativeL2" if floating and space == "linear" else "L2"
    while True:
        for moments in ("float32", "bfloat16") if log2_table < LARGE_TABLE else ("bfloat16",):
            config = _config(width, height, log2_table, loss, moments)
            if memory is None or log2_table == MIN_LOG2_TABLE or state_bytes(config, device) <= state_room(memory):
                return config
        log2_table -= 1


def _config(width: int, height: int, log2_table: int, loss: str, moments: str) -> dict[str, Any]:
    finest = max(COARSEST, max(width, height) / 2)
    return {
        "encoding": {
            "otype": "HashGrid",
            "n_levels": LEVELS,
            "n_features_per_level": FEATURES,
            "log2_hashmap_size": log2_table,
            "base_resolution": COARSEST,
            "per_level_scale": (finest / COARSEST) ** (1 / (LEVELS - 1)),
        },
        "network": {
            "otype": "FullyFusedMLP",
            "activation": "ReLU",
            "output_activation": "None",
            "n_neurons": 64,
            "n_hidden_layers": 2,
        },
        "loss": {"otype": loss},
        "optimizer": {
            "otype": "ExponentialDecay",
            "decay_start": 1000,
            "decay_interval": 100,
            "decay_base": 0.93,
            "decay_end": 7500,
            "nested": {
                "otype": "Adam",
                "learning_rate": 1e-2,
                "beta1": 0.9,
                "beta2": 0.99,
                "epsilon": 1e-15,
                "l2_reg": 1e-6,
                "moments": moments,
            },
        },
    }


def state_room(memory: int) -> float:
    """Bytes of a memory budget that the parameters in training may take."""
    return STATE_SHARE * max(memory - RESERVED_BYTES, 0)


def state_bytes(config: dict[str, Any] | configuration.ModelConfig, device: str = "cpu") -> float:
    """Bytes that the parameters of a configuration take in training, including gradients and moments."""
    if isinstance(config, dict):
        config = configuration.read_model(config, n_input_dims=2)
    compact = '"moments": "bfloat16"' in json.dumps(configuration.to_json(config.optimizer))
    return STATE_BYTES[device, compact] * Structure(2, 3, config.encoding, config.network).n_params


def check_state(config: dict[str, Any] | configuration.ModelConfig, memory: int, device: str) -> None:
    """Raise `DataError` for a model that does not fit into the memory budget."""
    needed = state_bytes(config, device)
    if device == "cpu" and needed > max(memory - RESERVED_BYTES, 0):
        raise DataError(
            f"memory: the model takes {format_size(needed)} in training and the libraries {format_size(RESERVED_BYTES)}, but "
            f"only {format_size(memory)} may be used; give a larger --memory or a smaller table (log2_hashmap_size)"
        )
