"""Configuration of encodings."""

from __future__ import annotations

from typing import Annotated

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.config.part import Misfit, Part, Typed, expect, expect_all
from nrc_tracer.nn.config.rules import Choice, Integer, Nullable, Number, listed

MAX_LEVELS = 128
"""Largest number of levels of a grid, tiny-cuda-nn's MAX_N_LEVELS."""

GRID_DIMS = (2, 3, 4)
"""Numbers of input dimensions that a grid can have."""

_FREQUENCIES = Integer(1, 128)
_GRID_TYPE = Choice("grid type", ("Hash", "Dense", "Tiled"), {"Tile": "Tiled"})
_INTERPOLATION = Choice("interpolation", ("Linear", "Smoothstep", "Nearest"))
_HASH = Choice("hash", ("CoherentPrime",), refused=("Prime", "ReversedPrime", "Rng", "BaseConvert"))
_REDUCTION = Choice("reduction", ("Concatenation", "Sum", "Product"))


class Grid(Typed, frozen=True, kw_only=True, tag="Grid"):
    """A multiresolution grid of trained features (Mueller et al. 2022) in 2 to 4 dimensions.

    Args:
        type: "Hash", "Dense" or "Tiled".
        n_levels: Number of levels, 1 to 128.
        n_features_per_level: Features per entry: 1, 2, 4 or 8.
        log2_hashmap_size: Binary logarithm of the largest number of entries of a hashed level, 1 to 31.
        base_resolution: Resolution of the coarsest level, at least 1.
        per_level_scale: Growth factor of the resolution per level, above 0. In JSON without this key it is 2, or for type Dense
            the factor that takes the finest level to 256; in Python the default is always 2.
        interpolation: "Linear", "Smoothstep" or "Nearest".
        hash: "CoherentPrime".
    """

    type: Annotated[str, _GRID_TYPE] = "Hash"
    n_levels: Annotated[int, Integer(1, MAX_LEVELS)] = 16
    n_features_per_level: Annotated[int, Integer(1, 8, only=(1, 2, 4, 8))] = 2
    log2_hashmap_size: Annotated[int, Integer(1, 31)] = 19
    base_resolution: Annotated[int, Integer(1, 2**31 - 1)] = 16
    per_level_scale: Annotated[float, Number(0, above=True)] = 2.0
    interpolation: Annotated[str, _INTERPOLATION] = "Linear"
    hash: Annotated[str, _HASH] = "CoherentPrime"


class OneBlob(Typed, frozen=True, kw_only=True, tag="OneBlob"):
    """A quartic blob integrated over bins, per dimension.

    Args:
        n_bins: Outputs per dimension, a power of two from 1 to 65536.
    """

    n_bins: Annotated[int, Integer(1, 2**16, power_of_two=True)] = 16


class Frequency(Typed, frozen=True, kw_only=True, tag="Frequency"):
    """Sines and cosines whose frequencies double, per dimension.

    Args:
        n_frequencies: Number of frequencies, 1 to 128; there are twice as many outputs per dimension.
    """

    n_frequencies: Annotated[int, _FREQUENCIES] = 12


class TriangleWave(Typed, frozen=True, kw_only=True, tag="TriangleWave"):
    """Triangle waves whose frequencies double, per dimension.

    Args:
        n_frequencies: Number of frequencies, and of outputs per dimension, 1 to 128.
    """

    n_frequencies: Annotated[int, _FREQUENCIES] = 12


class SphericalHarmonics(Typed, frozen=True, kw_only=True, tag="SphericalHarmonics"):
    """Spherical harmonics of a direction v, whose three inputs are (v + 1) / 2.

    Args:
        degree: Number of bands, 1 to 8; there are degree^2 outputs.
    """

    degree: Annotated[int, Integer(1, 8)] = 4


class Identity(Typed, frozen=True, kw_only=True, tag="Identity"):
    """Each input x as scale * x + offset.

    Args:
        scale: Factor of the inputs, any finite number.
        offset: Added to the scaled inputs, any finite number.
    """

    scale: Annotated[float, Number()] = 1.0
    offset: Annotated[float, Number()] = 0.0


class Empty(Typed, frozen=True, kw_only=True, tag="Empty"):
    """No outputs, for any inputs."""


class Nested(Part, frozen=True, kw_only=True):
    """An encoding inside a `Composite`.

    Args:
        encoding: The encoding.
        n_dims_to_encode: Number of its input dimensions; None for all that the others leave. With 0 it is skipped.
        dims_to_encode_begin: Its first input dimension; None for the one after those of the previous encoding.
    """

    encoding: Encoding
    n_dims_to_encode: Annotated[int | None, Nullable(Integer(0))] = None
    dims_to_encode_begin: Annotated[int | None, Nullable(Integer(0))] = None

    def relate(self) -> None:
        expect(self, "encoding", Encoding, "an encoding")


class Composite(Typed, frozen=True, kw_only=True, tag="Composite"):
    """Several encodings, each of a part of the input dimensions.

    Args:
        nested: The encodings, at least one. At most one may have `n_dims_to_encode` None, and none if any has
            `dims_to_encode_begin`.
        reduction: "Concatenation", "Sum" or "Product" of their outputs.
    """

    nested: tuple[Nested, ...]
    reduction: Annotated[str, _REDUCTION] = "Concatenation"

    def relate(self) -> None:
        expect_all(self, self.nested, Nested)
        placed = any(nested.dims_to_encode_begin is not None for nested in self.nested)
        free = [i for i, nested in enumerate(self.nested) if nested.n_dims_to_encode is None]
        if placed and free:
            problem = "n_dims_to_encode is missing; with dims_to_encode_begin, every nested encoding needs it"
            raise Misfit(self, f"nested[{free[0]}]", problem)
        if len(free) > 1:
            problem = f"n_dims_to_encode is missing; only one may leave it out, and nested[{free[0]}] already does"
            raise Misfit(self, f"nested[{free[1]}]", problem)
        if all(nested.n_dims_to_encode == 0 for nested in self.nested):
            raise Misfit(self, "nested", "no dimension is encoded; set an n_dims_to_encode above 0")


Encoding = Grid | OneBlob | Frequency | TriangleWave | SphericalHarmonics | Identity | Empty | Composite
"""All encodings. `NRC` and `OneBlobFrequency` are read as a `Composite`."""


def input_slices(composite: Composite, n_input_dims: int, place: str = "encoding") -> tuple[tuple[int, int], ...]:
    """Return (first dimension, number of dimensions) of the input for every nested encoding, including those that take none.

    Raises:
        ConfigError: The nested encodings have more dimensions than the input.
    """
    asked = sum(nested.n_dims_to_encode or 0 for nested in composite.nested)
    placed = any(nested.dims_to_encode_begin is not None for nested in composite.nested)
    if not placed and asked > n_input_dims:
        raise ConfigError(
            f"{place}.nested: the nested encodings take {asked} dimensions, but the input has {n_input_dims}"
        )
    slices = []
    begin = 0
    for i, nested in enumerate(composite.nested):
        if nested.dims_to_encode_begin is not None:
            begin = nested.dims_to_encode_begin
        count = n_input_dims - asked if nested.n_dims_to_encode is None else nested.n_dims_to_encode
        if begin + count > n_input_dims:
            raise ConfigError(
                f"{place}.nested[{i}]: takes the dimensions {begin} to {begin + count - 1}, "
                f"but the input has {n_input_dims}"
            )
        slices.append((begin, count))
        begin += count
    return tuple(slices)


def check_input_dims(encoding: Encoding, n_input_dims: int, place: str = "encoding") -> None:
    """Raise `ConfigError` if an encoding, or one nested in it, cannot take that number of input dimensions."""
    if isinstance(encoding, Grid) and n_input_dims not in GRID_DIMS:
        raise ConfigError(f"{place}: a grid takes {listed(GRID_DIMS)} input dimensions, not {n_input_dims}")
    if isinstance(encoding, SphericalHarmonics) and n_input_dims != 3:
        raise ConfigError(f"{place}: SphericalHarmonics takes 3 input dimensions, not {n_input_dims}")
    if isinstance(encoding, Composite):
        slices = input_slices(encoding, n_input_dims, place)
        for i, (nested, (_, count)) in enumerate(zip(encoding.nested, slices, strict=True)):
            if count:
                check_input_dims(nested.encoding, count, f"{place}.nested[{i}]")
