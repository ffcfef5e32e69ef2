"""The multiresolution grid: levels, corner indices and interpolation.

Source: Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives* (SIGGRAPH 2022), section 3, with the arithmetic of
tiny-cuda-nn.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

PRIMES = (1, 2654435761, 805459861, 3674653429)
# The finest resolution whose D-th power fits into 32 bits; above it a level that is not hashed reads entry 0
MAX_RESOLUTION = {2: 65535, 3: 1625, 4: 255}
WORD = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Level:
    """A level: `p = x * scale + 1/2`, vertices per axis, entries, first entry, and whether its index is a hash."""

    scale: np.float32
    resolution: int
    entries: int
    offset: int
    hashed: bool


def grid_type(config: dict) -> str:
    """hash, dense or tiled: `type` if given, otherwise the type in the name `otype`."""
    default = {"tiledgrid": "tiled", "densegrid": "dense"}.get(config.get("otype", "Grid").lower(), "hash")
    name = config.get("type", default).lower()
    return "tiled" if name == "tile" else name


def features_per_level(config: dict) -> int:
    return config.get("n_features_per_level", 2)


def n_levels(config: dict) -> int:
    total = config.get("n_features", config.get("n_grid_features"))
    if total is None:
        return config.get("n_levels", 16)
    if "n_levels" in config:
        raise ValueError("n_features and n_levels exclude each other")
    if total % features_per_level(config):
        raise ValueError("n_features must be a multiple of n_features_per_level")
    return total // features_per_level(config)


def per_level_scale(config: dict) -> np.float32:
    """The growth factor; by default 2, and for dense grids the factor that ends at resolution 256."""
    if "per_level_scale" in config:
        return np.float32(config["per_level_scale"])
    levels = n_levels(config)
    if grid_type(config) != "dense" or levels == 1:
        return np.float32(2)
    ratio = np.float32(256) / np.float32(config.get("base_resolution", 16))
    log_ratio = np.float32(math.log(float(ratio)))
    return np.float32(math.exp(float(log_ratio / np.float32(levels - 1))))


def grid_levels(config: dict, n_dims: int) -> list[Level]:
    """The levels of a grid over `n_dims` dimensions, the coarsest first."""
    kind = grid_type(config)
    base = config.get("base_resolution", 16)
    log2_scale = np.float32(math.log2(float(per_level_scale(config))))
    levels, offset = [], 0
    for l in range(n_levels(config)):  # noqa: E741 (the paper's letter)
        # Each of the four operations rounds to float32
        exponent = np.float32(l) * log2_scale
        scale = np.float32(2.0 ** float(exponent)) * np.float32(base) - np.float32(1)
        resolution = math.ceil(float(scale)) + 1
        vertices = resolution**n_dims
        entries = min(-(-vertices // 8) * 8, 2**31)
        if kind == "tiled":
            entries = min(entries, base**n_dims)
        elif kind == "hash":
            entries = min(entries, 2 ** config.get("log2_hashmap_size", 19))
        stride = vertices if resolution <= MAX_RESOLUTION[n_dims] else 0xFFFFFFFF
        levels.append(Level(scale, resolution, entries, offset, kind == "hash" and entries < stride))
        offset += entries
    return levels


def fma(x: np.ndarray, scale: np.float32, addend: float) -> np.ndarray:
    """float32 `x * scale + addend` with a single rounding.

    The product of two float32 numbers is exact in float64. Its sum with the addend is rounded to odd there (Boldo and Melquiond
    2008): if Knuth's two-sum finds an error and the last bit is even, the sum moves one ulp towards the error. A number rounded
    in this way to 53 bits cannot accidentally be a tie of the 24-bit grid, so only the second rounding counts.
    """
    product = np.asarray(x, np.float32).astype(np.float64) * float(scale)
    total = product + addend
    rest = total - product
    error = (product - (total - rest)) + (addend - rest)
    even = (total.view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, odd, total).astype(np.float32)


def _cell(p: np.ndarray) -> np.ndarray:
    """uint32(int32(floor p)), saturating like CUDA's conversion, stored as uint64."""
    whole = np.clip(np.floor(np.nan_to_num(p.astype(np.float64))), -(2.0**31), 2.0**31 - 1)
    return whole.astype(np.int64).astype(np.uint64) & WORD


def corner_index(level: Level, corner: np.ndarray) -> np.ndarray:
    """Entry of each corner: uint64 [N, D] of 32-bit coordinates to int64 [N]."""
    n_dims = corner.shape[1]
    index = np.zeros(len(corner), np.uint64)
    if level.hashed:
        for d in range(n_dims):
            index ^= (corner[:, d] * np.uint64(PRIMES[d])) & WORD
    elif level.resolution <= MAX_RESOLUTION[n_dims]:
        for d in range(n_dims):
            index = (index + corner[:, d] * np.uint64(level.resolution**d)) & WORD
    return (index % np.uint64(level.entries)).astype(np.int64)


def encode_grid(config: dict, x: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Level-major features: float32 [N, D] to float64 [N, L * F]."""
    n_dims, features = x.shape[1], features_per_level(config)
    interpolation = config.get("interpolation", "Linear").lower()
    columns = []
    for level in grid_levels(config, n_dims):
        table = np.asarray(params, np.float64).reshape(-1, features)[level.offset : level.offset + level.entries]
        p = fma(x, level.scale, 0.5)
        cell = _cell(p)
        if interpolation == "nearest":
            columns.append(table[corner_index(level, cell)])
            continue
        w = p.astype(np.float64) - np.floor(p.astype(np.float64))
        if interpolation == "smoothstep":
            w = w * w * (3 - 2 * w)
        value = np.zeros((len(x), features))
        for step in itertools.product((0, 1), repeat=n_dims):
            weight = np.prod(np.where(step, w, 1 - w), axis=1)
            corner = (cell + np.array(step, np.uint64)) & WORD
            value += weight[:, None] * table[corner_index(level, corner)]
        columns.append(value)
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(x), 0))
