"""The files of models and their training: which tensors and which JSON data they hold, and checks against damage.

A snapshot is a safetensors file (https://github.com/huggingface/safetensors), which other programs read as well:

* `params`: float32 [n_params], in tiny-cuda-nn's order, and `inference_params` if they differ;
* `training/...`: tensors of a trainer's state, for example `training/optimizer/nested/moments`;
* `extra/...`: tensors that the caller added;
* metadata: one key `nrc_tracer` with JSON: format, version, dimensions, seed, precision, configuration (with the keys of
  tiny-cuda-nn), numbers of the trainer's state, and JSON data that the caller added.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError, SnapshotError, one_line
from nrc_tracer.files.tensor_file import opened_tensors, read_header
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.config.document import decode
from nrc_tracer.nn.precision import DTYPES
from nrc_tracer.nn.structure import Structure

FORMAT = "nrc_tracer.nn"
VERSION = 1
KEY = "nrc_tracer"
"""The only key of the metadata: safetensors does not keep several in order, and equal models should give equal files."""

MAX_HEADER_BYTES = 16 * 2**20
"""Largest size of a file's header [bytes]."""

_PIECE = 2**22
"""Number of values that `is_finite` looks at in one operation."""

EXTRA = "extra/"
"""Prefix of the names of tensors that the caller added."""

TRAINING = "training/"
"""Prefix of the names of tensors of a trainer's state."""

_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Header(msgspec.Struct, kw_only=True):
    """The JSON data in the metadata. `training` is a trainer's state as nested dicts, without the tensors."""

    format: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    n_input_dims: _Count
    n_output_dims: _Count
    seed: int
    precision: str
    form: str = "auto"
    device: str
    config: dict[str, Any]
    training: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}


def is_finite(params: Tensor) -> bool:
    """Whether all values are finite, checked piece by piece: on all at once, torch needs more memory than the values."""
    return all(bool(torch.isfinite(piece).all()) for piece in params.split(_PIECE))


@dataclass(frozen=True)
class SnapshotBytes:
    """The contents of a file in memory.

    Attributes:
        name: Its name in messages.
        data: The bytes of the file.
    """

    name: str
    data: bytes


@contextmanager
def opened_snapshot(source: str | os.PathLike[str] | SnapshotBytes) -> Iterator[SnapshotFile]:
    """Open a file, or its contents in memory, and check everything but tensors' values. Raises `SnapshotError`."""
    if isinstance(source, SnapshotBytes):
        yield SnapshotFile(Path(source.name), _TensorsInMemory(source))
        return
    path = Path(source)
    with opened_tensors(path, "pt", kind="snapshot", error=SnapshotError, max_header=MAX_HEADER_BYTES) as tensors:
        yield SnapshotFile(path, tensors)


class _TensorsInMemory:
    """The part of the interface of `safetensors.safe_open` that is used here, for contents in memory."""

    def __init__(self, source: SnapshotBytes) -> None:
        import safetensors.torch

        try:
            self._tensors = safetensors.torch.load(source.data)
        except (safetensors.SafetensorError, KeyError, ValueError) as problem:
            raise SnapshotError(f"{source.name}: not a snapshot, or damaged: {one_line(problem)}") from problem
        self._header = read_header(source.data)

    def keys(self) -> list[str]:
        return list(self._tensors)

    def metadata(self) -> dict[str, str] | None:
        return self._header.get("__metadata__")

    def get_tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    def get_slice(self, name: str) -> _Slice:
        return _Slice(self._header[name])


class _Slice:
    """Shape and type of a tensor, as safetensors has them."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self._entry = entry

    def get_shape(self) -> list[int]:
        return self._entry["shape"]

    def get_dtype(self) -> str:
        return self._entry["dtype"]


class SnapshotFile:
    """An open file whose header has been checked.

    Args:
        path: Its name, for messages.
        tensors: The file as safetensors opened it. Tensors read from it are the file itself, mapped into memory, even after it
            is closed.

    Attributes:
        path: Its name, for messages.
        header: The JSON data in the metadata.
        config: The configuration of the model and its training.
    """

    def __init__(self, path: Path, tensors: Any) -> None:
        self.path = path
        self._tensors = tensors
        self._names = set(tensors.keys())
        try:
            document = decode((tensors.metadata() or {}).get(KEY, "{}"))
            self._check_version(document)
            self.header = msgspec.convert(document, Header)
            self.config = self._config()
        except ConfigError as error:
            raise self._damaged(str(error)) from error
        except (msgspec.ValidationError, UnicodeError, OverflowError) as error:
            raise self._damaged(f"metadata: {one_line(error)}") from error
        if self.header.precision not in DTYPES:
            raise self._damaged(f"metadata: unknown precision {self.header.precision[:40]!r}")
        self._check_names()
        self._check_params()

    def _check_version(self, document: dict[str, Any]) -> None:
        if document.get("format") != FORMAT:
            raise SnapshotError(f"{self.path}: a safetensors file, but not a snapshot of {FORMAT}")
        version = document.get("version")
        if isinstance(version, int) and version > VERSION:
            raise SnapshotError(
                f"{self.path}: written by a newer release (format {version}, this one reads up to {VERSION}); "
                "upgrade nrc-tracer"
            )

    def _config(self) -> configuration.ModelConfig:
        data = self.header.config
        if "parent" in data:  # it would cause another file to be read
            raise ConfigError("config.parent: not allowed in a snapshot")
        config = configuration.read_model(data, n_input_dims=self.header.n_input_dims)
        # Before a list of the layers is made: each layer has parameters
        layers = sum(network.n_hidden_layers for network in configuration.networks(config))
        if layers > self._shape("params")[0]:
            raise ConfigError(f"config.network: {layers} layers, but fewer parameters")
        return config

    def _check_names(self) -> None:
        known = {"params", "inference_params"}
        for name in sorted(self._names - known):
            if not name.startswith(EXTRA) and not (name.startswith(TRAINING) and self.header.training is not None):
                raise self._damaged(f"an unknown tensor {name[:40]!r}")

    def _check_params(self) -> None:
        header = self.header
        try:
            structure = Structure(header.n_input_dims, header.n_output_dims, self.config.encoding, self.config.network)
        except ConfigError as error:
            raise self._damaged(str(error)) from error
        for name in ("params", "inference_params"):
            if name in self._names and self._shape(name) != [structure.n_params]:
                raise self._damaged(
                    f"{name} has shape {self._shape(name)}, the model of its configuration {structure.n_params} parameters"
                )

    def _shape(self, name: str) -> list[int]:
        """The shape of a vector of parameters."""
        if name not in self._names:
            raise self._damaged(f"no tensor {name!r}")
        view = self._tensors.get_slice(name)
        shape, dtype = list(view.get_shape()), view.get_dtype()
        if dtype != "F32" or len(shape) != 1:
            raise self._damaged(f"{name} is {dtype} of shape {shape}, not F32 of one dimension")
        return shape

    def _tensor(self, name: str) -> Tensor:
        try:
            return self._tensors.get_tensor(name)
        except (
            AttributeError,
            KeyError,
            TypeError,
            RuntimeError,
            ValueError,
        ) as error:  # a type that torch does not have
            raise self._damaged(f"{name[:60]!r} cannot be read: {one_line(error)}") from error

    def _params(self, name: str) -> Tensor:
        params = self._tensor(name)
        if not is_finite(params):
            raise self._damaged(f"{name} has values that are not finite")
        return params

    def params(self) -> tuple[Tensor, Tensor | None]:
        """`params`, and `inference_params` or None."""
        return self._params("params"), self._params("inference_params") if "inference_params" in self._names else None

    def extra(self) -> dict[str, Tensor]:
        """The tensors that the caller added, by name."""
        names = sorted(name for name in self._names if name.startswith(EXTRA))
        return {name.removeprefix(EXTRA): self._tensor(name) for name in names}

    def state(self) -> dict[str, Any]:
        """The state of the trainer, with its tensors in their places."""
        state = self.header.training
        if state is None:
            raise SnapshotError(
                f"{self.path}: holds a model without its training, which cannot be continued; load the model alone"
            )
        for name in sorted(self._names):
            if not name.startswith(TRAINING):
                continue
            *folders, leaf = name.removeprefix(TRAINING).split("/")
            place: Any = state
            for folder in folders:
                place = place.get(folder) if isinstance(place, dict) else None
            if not isinstance(place, dict) or leaf in place:
                raise self._damaged(f"the tensor {name[:60]!r} does not belong to the state")
            place[leaf] = self._tensor(name)
        return state

    def _damaged(self, problem: str) -> SnapshotError:
        return SnapshotError(f"{self.path}: not a snapshot, or damaged: {problem}")
