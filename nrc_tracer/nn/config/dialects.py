"""The values that tiny-cuda-nn and instant-ngp give to grid keys that a configuration leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.config.encodings import Grid
from nrc_tracer.nn.config.rules import Choice, Integer, Number, float32, shown

DIALECTS = ("tiny-cuda-nn", "instant-ngp")
DENSE_RESOLUTION = 256
"""Resolution of the finest level of a dense grid in tiny-cuda-nn."""

SCENE_RESOLUTION = 2048
"""Resolution of the finest level for a scene of unit size in instant-ngp."""

INSTANT_NGP_LOG2_HASHMAP_SIZE = 15
"""Default `log2_hashmap_size` of instant-ngp."""

_DIALECT = Choice("dialect", DIALECTS)
_AABB_SCALE = Number(2**-16, 2**16)
_SIDE = Integer(1, 2**24)


def growth_factor(n_max: float, n_min: int, n_levels: int) -> float:
    """Return `per_level_scale` b = exp(ln(N_max / N_min) / (L - 1)), with which L levels grow from N_min to N_max.

    Every operation is rounded to float32, as in tiny-cuda-nn. A single level does not grow: b is 2, the usual default.
    """
    if n_levels == 1:
        return 2.0
    logarithm = float32(math.log(float32(n_max / float32(n_min))))
    return float32(math.exp(float32(logarithm / (n_levels - 1))))


class Dialect:
    """The program whose defaults a configuration follows.

    Args:
        name: "tiny-cuda-nn" or "instant-ngp".
        aabb_scale: Size of the scene's box in unit cubes, 2^-16 to 2^16; used by "instant-ngp".
        image_resolution: Width and height [pixels] of the image to fit, or None; used by "instant-ngp".

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(self, name: str, aabb_scale: float = 1.0, image_resolution: Sequence[int] | None = None):
        self.name = _DIALECT.read(name, "dialect")
        self.n_max = SCENE_RESOLUTION * _AABB_SCALE.read(aabb_scale, "aabb_scale")
        if image_resolution is not None:
            if not isinstance(image_resolution, Sequence) or len(image_resolution) != 2:
                raise ConfigError(f"image_resolution: expected (width, height), got {shown(image_resolution)}")
            sides = [_SIDE.read(side, f"image_resolution[{i}]") for i, side in enumerate(image_resolution)]
            self.n_max = max(sides) / 2

    @property
    def is_instant_ngp(self) -> bool:
        return self.name == "instant-ngp"

    def complete(self, grid: Grid, given: set[str]) -> dict[str, Any]:
        """Return new values for the fields of a grid whose keys were not given."""
        changes: dict[str, Any] = {}
        if self.is_instant_ngp and "log2_hashmap_size" not in given:
            changes["log2_hashmap_size"] = INSTANT_NGP_LOG2_HASHMAP_SIZE
        if "per_level_scale" not in given:
            if self.is_instant_ngp:
                changes["per_level_scale"] = growth_factor(self.n_max, grid.base_resolution, grid.n_levels)
            elif grid.type == "Dense":
                changes["per_level_scale"] = growth_factor(DENSE_RESOLUTION, grid.base_resolution, grid.n_levels)
        return changes
