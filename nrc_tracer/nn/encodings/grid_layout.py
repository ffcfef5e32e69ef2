"""How a multiresolution grid lays out its parameters: level by level, in a table of feature vectors each.

Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding* (SIGGRAPH 2022),
section 3, with tiny-cuda-nn's arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config as configuration

PRIMES = (1, 2654435761, 805459861, 3674653429)
"""Factors of the coordinates in the spatial hash, one per dimension."""

FINEST_INDEXED = {2: 65535, 3: 1625, 4: 255}
"""The finest resolution whose vertices can be numbered in 32 bits, for every number of dimensions that a grid may have."""

MAX_PARAMS = 2**31 - 1
"""Most parameters that a grid may have: kernels index them with 32-bit integers."""


@dataclass(frozen=True)
class GridLevel:
    """One level of a grid.

    Attributes:
        scale: Cells along an edge, as a float32: a point is at `x * scale + 0.5`, in cells.
        resolution: Number of vertices along an edge.
        entries: Number of feature vectors in its table.
        offset: Number of entries of all coarser levels.
        hashed: Whether vertices are hashed into the table; else they are numbered, dimension 0 fastest.
    """

    scale: float
    resolution: int
    entries: int
    offset: int
    hashed: bool

    def multipliers(self, n_dims: int) -> tuple[int, ...]:
        """The factors of a vertex's coordinates in its index."""
        if self.hashed:
            return PRIMES[:n_dims]
        if self.resolution > FINEST_INDEXED[n_dims]:
            return (0,) * n_dims
        return tuple(self.resolution**d for d in range(n_dims))


def grid_levels(config: configuration.Grid, n_dims: int) -> tuple[GridLevel, ...]:
    """The levels of a grid in `n_dims` dimensions; every rounding is that of tiny-cuda-nn.

    Raises:
        ConfigError: A level would be too fine, or the grid would have more than `MAX_PARAMS` parameters.
    """
    log2_scale = np.float32(np.log2(np.float64(np.float32(config.per_level_scale))))
    levels: list[GridLevel] = []
    offset = 0
    for index in range(config.n_levels):
        growth = np.float32(2.0 ** np.float64(np.float32(index) * log2_scale))
        scale = np.float32(growth * np.float32(config.base_resolution)) - np.float32(1.0)
        if not scale < 2.0**31:
            raise ConfigError(
                f"encoding.per_level_scale: level {index} would have {float(scale):.3g} cells along an edge; "
                "take fewer levels or a smaller factor"
            )
        resolution = math.ceil(scale) + 1
        entries = -(-(resolution**n_dims) // 8) * 8
        if config.type == "Hash":
            entries = min(entries, 2**config.log2_hashmap_size)
        elif config.type == "Tiled":
            entries = min(entries, config.base_resolution**n_dims)
        hashed = config.type == "Hash" and entries < resolution**n_dims
        levels.append(GridLevel(float(scale), resolution, entries, offset, hashed))
        offset += entries
    if offset * config.n_features_per_level > MAX_PARAMS:
        raise ConfigError(
            f"encoding: a grid of {offset * config.n_features_per_level:,} parameters (at most {MAX_PARAMS:,}); "
            "take fewer levels, a smaller log2_hashmap_size or type Hash"
        )
    return tuple(levels)


@dataclass(frozen=True, eq=False)
class GridLayout:
    """The tables of a grid. Two grids of one shape have two layouts, which are not equal: each stands for its own parameters.

    Attributes:
        n_dims: Input dimensions: 2, 3 or 4.
        n_features: Features per level, the length of a table's entries.
        levels: The levels, coarse to fine.
    """

    n_dims: int
    n_features: int
    levels: tuple[GridLevel, ...]

    @property
    def n_entries(self) -> int:
        """Feature vectors in the tables of all levels."""
        return self.levels[-1].offset + self.levels[-1].entries

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return self.n_entries * self.n_features

    @property
    def n_outputs(self) -> int:
        """Features of all levels."""
        return len(self.levels) * self.n_features

    def level_slice(self, level: int) -> slice:
        """The parameters of a level among those of the grid."""
        begin = self.levels[level].offset * self.n_features
        return slice(begin, begin + self.levels[level].entries * self.n_features)
