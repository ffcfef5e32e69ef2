"""Converting JSON data to the parts of a configuration."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec

from nrc_tracer.errors import ConfigError, nearest
from nrc_tracer.nn.config.dialects import Dialect
from nrc_tracer.nn.config.document import MAX_DEPTH
from nrc_tracer.nn.config.encodings import (
    Composite,
    Empty,
    Encoding,
    Frequency,
    Grid,
    Identity,
    Nested,
    OneBlob,
    SphericalHarmonics,
    TriangleWave,
    check_input_dims,
)
from nrc_tracer.nn.config.model import NETWORK_OTYPE, Loss, ModelConfig, Network, RadianceField
from nrc_tracer.nn.config.optimizers import (
    SGD,
    Adam,
    Average,
    Batched,
    CompositeOptimizer,
    Ema,
    ExponentialDecay,
    Lookahead,
    NestedOptimizer,
    Optimizer,
    Wrapper,
)
from nrc_tracer.nn.config.part import Misfit, Part, rules
from nrc_tracer.nn.config.rules import Choice, Flag, Integer, join, shown

Result = TypeVar("Result")
AnyPart = TypeVar("AnyPart", bound=Part)

_NRC = ("NRC", "OneBlobFrequency")
_GRIDS = {"Grid": "Hash", "HashGrid": "Hash", "DenseGrid": "Dense", "TiledGrid": "Tiled"}
_ENCODINGS: dict[str, type[OneBlob | Frequency | TriangleWave | SphericalHarmonics | Identity | Empty]] = {
    "OneBlob": OneBlob,
    "Frequency": Frequency,
    "TriangleWave": TriangleWave,
    "SphericalHarmonics": SphericalHarmonics,
    "Identity": Identity,
    "Empty": Empty,
}
_OPTIMIZERS: dict[str, type[Optimizer]] = {
    "Adam": Adam,
    "SGD": SGD,
    "Ema": Ema,
    "ExponentialDecay": ExponentialDecay,
    "Lookahead": Lookahead,
    "Batched": Batched,
    "Average": Average,
    "Composite": CompositeOptimizer,
}
_ENCODING_OTYPE = Choice("encoding", (*_GRIDS, *_ENCODINGS, "Composite", *_NRC))
_OPTIMIZER_OTYPE = Choice("optimizer", _OPTIMIZERS, refused=("Novograd", "Shampoo"))

MAX_WARNINGS = 20
"""Largest number of warnings per configuration, not counting the one that says that there are more."""

# Keys that are not fields of a part
_GRID_KEYS = ("n_features", "n_grid_features", "fixed_point_pos", "stochastic_interpolation")
_NETWORK_KEYS = ("n_input_dims", "n_output_dims")  # tiny-cuda-nn overwrites them itself
_NESTED_KEYS = ("n_dims_to_encode", "dims_to_encode_begin")
_NESTED_OPTIMIZER_KEYS = ("n_params_to_optimize",)
_INSTANT_NGP_KEYS = ("parent", "snapshot", "rgb_network", "dir_encoding", "envmap", "distortion_map")

# All keys of a section, for any otype
_ENCODING_KEYS = {key for cls in (Grid, Composite, *_ENCODINGS.values()) for key in cls.__struct_fields__}
_ENCODING_KEYS |= {*_GRID_KEYS, *_NESTED_KEYS}
_OPTIMIZER_KEYS = {key for cls in _OPTIMIZERS.values() for key in cls.__struct_fields__} | {*_NESTED_OPTIMIZER_KEYS}


class ConfigWarning(UserWarning):
    """A configuration has a key that nothing reads."""


class Reader:
    """Reads the sections of one configuration, and collects warnings.

    Methods take the JSON data of a section, or the part itself, and its place for messages. `extra` are keys that the section may
    have besides the fields of its part.
    """

    def __init__(self, dialect: Dialect, file: str | os.PathLike[str] | None = None):
        self.dialect = dialect
        self.file = file
        self.notes: list[str] = []

    def run(self, read: Callable[[], Result]) -> Result:
        """Call `read` for a public function, then warn that function's caller."""
        name = "" if self.file is None else f"{self.file}: "
        try:
            result = read()
        except ConfigError as error:
            raise ConfigError(f"{name}{error}") from error
        for note in self.notes:
            warnings.warn(f"{name}{note}", ConfigWarning, stacklevel=3)
        return result

    def model(self, document: dict[str, Any] | ModelConfig, n_input_dims: int | None) -> ModelConfig:
        if isinstance(document, ModelConfig):
            self.checked_encoding(document.encoding, "encoding", n_input_dims)
            return document
        self.note_unknown(document, "", (*ModelConfig.__struct_fields__, *_INSTANT_NGP_KEYS))
        network = document.get("network", {})
        return ModelConfig(
            encoding=self.checked_encoding(document.get("encoding", {}), "encoding", n_input_dims),
            network=None if network is None else self.network(network, "network"),
            loss=self.loss(document.get("loss", {}), "loss"),
            optimizer=self.optimizer(document.get("optimizer", {}), "optimizer"),
        )

    def checked_encoding(self, raw: object, place: str, n_input_dims: int | None) -> Encoding:
        encoding = self.encoding(raw, place)
        if n_input_dims is not None:
            check_input_dims(encoding, n_input_dims, place)
        return encoding

    def encoding(self, raw: object, place: str, extra: Collection[str] = (), depth: int = 1) -> Encoding:
        if isinstance(raw, Encoding):
            return raw
        data = _object(raw, place, depth)
        otype = _ENCODING_OTYPE.read(data.get("otype", "OneBlob"), join(place, "otype"))
        if otype in _GRIDS:
            return self.grid(data, place, extra, _GRIDS[otype])
        if otype in _NRC:
            return self.nrc(data, place, extra)
        if otype == "Composite":
            return self.composite(data, place, extra, depth)
        return self.part(_ENCODINGS[otype], data, place, extra, _ENCODING_KEYS)

    def grid(self, data: Mapping[str, Any], place: str, extra: Collection[str], default_type: str) -> Grid:
        for key in ("fixed_point_pos", "stochastic_interpolation"):
            if Flag().read(data.get(key, False), join(place, key)):
                raise ConfigError(f"{join(place, key)}: not supported; leave it out or set it to false")
        data = {"type": default_type} | dict(data)
        # Convert the number of all features to a number of levels
        total = next((name for name in ("n_features", "n_grid_features") if name in data), None)
        if total is not None:
            where = join(place, total)
            if "n_levels" in data:
                raise ConfigError(f"{where}: n_levels is given too, which determines it; remove one of them")
            per_level = rules(Grid)["n_features_per_level"].read(
                data.get("n_features_per_level", 2), join(place, "n_features_per_level")
            )
            n_features = Integer(1).read(data[total], where)
            if n_features % per_level:
                raise ConfigError(
                    f"{where}: expected a multiple of n_features_per_level = {per_level}, got {n_features}"
                )
            data["n_levels"] = rules(Grid)["n_levels"].read(n_features // per_level, join(place, "n_levels"))
        grid = self.part(Grid, data, place, (*extra, *_GRID_KEYS), _ENCODING_KEYS)
        changes = self.dialect.complete(grid, set(data))
        for name, value in changes.items():
            rules(Grid)[name].read(value, join(place, name))
        return msgspec.structs.replace(grid, **changes)

    def nrc(self, data: Mapping[str, Any], place: str, extra: Collection[str]) -> Composite:
        """Expand the encoding of neural radiance caching (Mueller et al. 2021): TriangleWave, OneBlob and Identity."""
        self.note_unknown(data, place, ("n_frequencies", "n_bins", *extra), _ENCODING_KEYS)
        wave = self.part(TriangleWave, {key: data[key] for key in data if key == "n_frequencies"}, place)
        blob = self.part(OneBlob, {"n_bins": data.get("n_bins", 4)}, place)
        return Composite(
            nested=(
                Nested(encoding=wave, n_dims_to_encode=3),
                Nested(encoding=blob, n_dims_to_encode=5),
                Nested(encoding=Identity()),
            )
        )

    def composite(self, data: Mapping[str, Any], place: str, extra: Collection[str], depth: int) -> Composite:
        def entry(raw: object, where: str) -> Nested:
            if isinstance(raw, Nested):
                return raw
            if isinstance(raw, Encoding):
                return Nested(encoding=raw)
            data = _object(raw, where)
            encoding = self.encoding(data, where, _NESTED_KEYS, depth + 1)
            return Nested(encoding=encoding, **_scalars(Nested, data, where))

        return self.part(Composite, data, place, extra, _ENCODING_KEYS, _entries(data, place, entry))

    def network(self, raw: object, place: str) -> Network | RadianceField:
        if isinstance(raw, Network | RadianceField):
            return raw
        data = _object(raw, place)
        if NETWORK_OTYPE.read(data.get("otype", "CutlassMLP"), join(place, "otype")) != "RadianceField":
            return self.part(Network, data, place, _NETWORK_KEYS)
        nested = {name: self.network(data[name], join(place, name)) for name in ("density", "rgb") if name in data}
        return self.part(RadianceField, data, place, _NETWORK_KEYS, nested=nested)

    def loss(self, raw: object, place: str) -> Loss:
        if isinstance(raw, Loss):
            return raw
        data = dict(_object(raw, place))
        if rules(Loss)["otype"].read(data.get("otype", "RelativeL2"), join(place, "otype")) != "Huber":
            # A parent may have left it over
            self.note_unknown({key: data[key] for key in data if key == "delta"}, place, (), ("delta",))
            data.pop("delta", None)
        return self.part(Loss, data, place)

    def optimizer(self, raw: object, place: str, extra: Collection[str] = (), depth: int = 1) -> Optimizer:
        if isinstance(raw, Optimizer):
            return raw
        data = _object(raw, place, depth)
        cls = _OPTIMIZERS[_OPTIMIZER_OTYPE.read(data.get("otype", "Adam"), join(place, "otype"))]

        def entry(raw: object, where: str) -> NestedOptimizer:
            if isinstance(raw, NestedOptimizer):
                return raw
            if isinstance(raw, Optimizer):
                return NestedOptimizer(optimizer=raw)
            data = _object(raw, where)
            nested = self.optimizer(data, where, _NESTED_OPTIMIZER_KEYS, depth + 1)
            return NestedOptimizer(optimizer=nested, **_scalars(NestedOptimizer, data, where))

        nested: dict[str, Any] = {}
        if cls is CompositeOptimizer:
            nested = _entries(data, place, entry)
        elif issubclass(cls, Wrapper):
            nested = {"nested": self.optimizer(data.get("nested", {}), join(place, "nested"), depth=depth + 1)}
        return self.part(cls, data, place, extra, _OPTIMIZER_KEYS, nested)

    def part(
        self,
        cls: type[AnyPart],
        data: Mapping[str, Any],
        place: str,
        extra: Collection[str] = (),
        elsewhere: Collection[str] = (),
        nested: Mapping[str, Any] | None = None,
    ) -> AnyPart:
        """Make a part from an object whose `nested` parts have been read, and check its fields against one another."""
        self.note_unknown(data, place, (*cls.__struct_fields__, *extra), elsewhere)
        try:
            return cls(**_scalars(cls, data, place), **(nested or {}))
        except Misfit as error:
            raise ConfigError(f"{place}.{error.member}: {error.problem}") from error

    def note_unknown(
        self, data: Mapping[str, Any], place: str, known: Collection[str], elsewhere: Collection[str] = ()
    ) -> None:
        """Collect a warning for each unknown key. Files of instant-ngp often have keys of another otype, from their parents."""
        for key in data:
            if not isinstance(key, str):
                raise ConfigError(f"{place or 'configuration'}: expected strings as keys, got {shown(key)}")
            if key == "otype" or key in known or (self.dialect.is_instant_ngp and key in elsewhere):
                continue
            if len(self.notes) >= MAX_WARNINGS:
                self.notes[MAX_WARNINGS:] = ["more unknown keys"]
                return
            hint = nearest(key, known)
            self.notes.append(f"{join(place, key)}: unknown key, ignored{hint}")


def _object(raw: object, place: str, depth: int = 1) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{place}: expected an object, got {shown(raw)}")
    if depth > MAX_DEPTH:
        raise ConfigError(f"{place[:60]}...: nested more than {MAX_DEPTH} deep")
    return raw


def _entries(data: Mapping[str, Any], place: str, read: Callable[[Any, str], Part]) -> dict[str, tuple[Part, ...]]:
    """Read the array `nested` of a composite."""
    where = join(place, "nested")
    raw = data.get("nested")
    if not isinstance(raw, list | tuple):
        raise ConfigError(f"{where}: expected an array, got {shown(raw) if 'nested' in data else 'nothing'}")
    return {"nested": tuple(read(entry, f"{where}[{i}]") for i, entry in enumerate(raw))}


def _scalars(cls: type[Part], data: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {name: rule.read(data[name], join(place, name)) for name, rule in rules(cls).items() if name in data}
