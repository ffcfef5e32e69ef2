"""Models and their training in files, the same on every device.

A snapshot is a safetensors file (https://github.com/huggingface/safetensors), which other programs read as well:

* `params`: float32 [n_params], in tiny-cuda-nn's order, and `inference_params` if they differ;
* `training/...`: tensors of a trainer's state, `training/optimizer/nested/moments` for one;
* `extra/...`: what the caller added;
* metadata: one key `nrc_tracer`, JSON of all the rest: format, version, dimensions, seed, precision, configuration (with the
  keys of tiny-cuda-nn), numbers of the trainer's state, and the caller's own.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import torch
from torch import Tensor

from nrc_tracer.atomic import replacing
from nrc_tracer.errors import ConfigError, NrcError, SnapshotError, one_line
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.config.document import decode
from nrc_tracer.nn.model import Model, resolve_device
from nrc_tracer.nn.precision import DTYPES
from nrc_tracer.nn.structure import Structure
from nrc_tracer.tensor_file import Entry, opened_tensors, write_tensors

if TYPE_CHECKING:
    from nrc_tracer.nn.trainer import Trainer

FORMAT = "nrc_tracer.nn"
VERSION = 1
KEY = "nrc_tracer"
"""Of the metadata. Only one: safetensors keeps several in no order, and equal models should give equal files."""

MAX_HEADER_BYTES = 16 * 2**20
_PIECE = 2**22
"""Values that are looked at at once."""

_EXTRA = "extra/"
_TRAINING = "training/"
_DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.bool: "BOOL",
    torch.int8: "I8",
    torch.uint8: "U8",
}


class SnapshotWarning(UserWarning):
    """A model that is not loaded quite as it was saved."""


_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class _Header(msgspec.Struct, kw_only=True):
    """The JSON in the metadata; `training` has the numbers of a trainer's state, in dicts that lack the tensors."""

    format: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    n_input_dims: _Count
    n_output_dims: _Count
    seed: int
    precision: str
    device: str
    config: dict[str, Any]
    training: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}


@dataclass(frozen=True)
class Snapshot:
    """What a file holds of a model.

    Attributes:
        path: The file.
        config: Configuration of model and training.
        n_input_dims: Input columns.
        n_output_dims: Output columns.
        seed: Of the parameters before training.
        precision: Of the matrix products, `float32` for one.
        device: Type of the device the model was on, `cpu` or `cuda`.
        params: float32 [n_params], on the CPU.
        inference_params: float32 [n_params], the average over training that the model answers by, or None for `params`.
        extra: Tensors that were added, on the CPU.
        metadata: JSON data that was added.
    """

    path: Path
    config: configuration.ModelConfig
    n_input_dims: int
    n_output_dims: int
    seed: int
    precision: str
    device: str
    params: Tensor
    inference_params: Tensor | None
    extra: dict[str, Tensor]
    metadata: dict[str, Any]

    def model(
        self,
        *,
        device: str | torch.device | None = None,
        backend: str = "warp",
        precision: str | None = None,
        threads: int | None = None,
    ) -> Model:
        """Make the model; arguments, errors and warnings as in `load_model`."""
        chosen = self.precision if precision is None else precision
        note = None
        if precision is None and chosen == "float16" and self.device == "cuda" and resolve_device(device).type == "cpu":
            # It is there, but tens of times slower than float32
            chosen, note = "auto", "float16 does not pay on a CPU"
        try:
            model = self._build(device, backend, chosen, threads)
        except ConfigError as error:
            if precision is not None or chosen == "auto":
                raise
            model, note = self._build(device, backend, "auto", threads), str(error)
        if note:
            message = f"{self.path}: saved with {self.precision}, loaded with {model.precision}: {note}"
            warnings.warn(message, SnapshotWarning, stacklevel=3)
        return model

    def _build(self, device: str | torch.device | None, backend: str, precision: str, threads: int | None) -> Model:
        model = Model(
            self.n_input_dims,
            self.n_output_dims,
            self.config,
            device=device,
            seed=self.seed,
            backend=backend,
            precision=precision,
            threads=threads,
            params=self.params,
        )
        if self.inference_params is not None:
            averaged = self.inference_params.to(model.device, copy=True)
            model.set_average(lambda: averaged)
        return model


# Writing


def save_model(
    model: Model,
    path: str | os.PathLike[str],
    *,
    extra: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model's configuration and parameters; a file of that name is replaced only once the new one is complete.

    Args:
        model: The model, on any device.
        path: The file, usually `.safetensors`.
        extra: Tensors to put beside the parameters, of any shape.
        metadata: JSON data to put beside the configuration.

    Returns:
        The path.

    Raises:
        SnapshotError: The place cannot be written to, parameters are not finite, or what is added cannot be stored.
    """
    return _save(model, None, path, extra, metadata)


def save_training(
    trainer: Trainer,
    path: str | os.PathLike[str],
    *,
    extra: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """`save_model` of a trainer's model, with all that training needs to go on to the same bits: see `load_training`."""
    return _save(trainer.model, trainer, path, extra, metadata)


def _save(
    model: Model,
    trainer: Trainer | None,
    path: str | os.PathLike[str],
    extra: Mapping[str, Tensor] | None,
    metadata: Mapping[str, Any] | None,
) -> Path:
    path = Path(path)
    tensors = {"params": model.params}
    # Before the trainer's state: asking for an average may bring it up to date
    averaged = model.inference_params
    if averaged is not model.params:
        tensors["inference_params"] = averaged
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise SnapshotError(f"{path}: not written, as {name} has values that are not finite: training has diverged")
    for name, tensor in (extra or {}).items():
        _check_tensor(path, f"extra[{name!r}]", name, tensor)
        tensors[_EXTRA + name] = tensor
    config = model.config
    if trainer is not None:
        config = msgspec.structs.replace(config, loss=trainer.config.loss, optimizer=trainer.config.optimizer)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "n_input_dims": model.n_input_dims,
        "n_output_dims": model.n_output_dims,
        "seed": int(model.seed),
        "precision": model.precision,
        "device": model.device.type,
        "config": configuration.to_json(config),
    }
    if trainer is not None:
        header["training"] = _flatten(path, trainer.state(copy=False), _TRAINING, tensors)
    if metadata:
        header["metadata"] = dict(metadata)
    with replacing(path, error=SnapshotError) as temporary:
        _write(temporary, _json(path, header), tensors)
    return path


def _is_finite(params: Tensor) -> bool:
    """Whether all values are finite, found out piece by piece: torch takes more memory than the values to tell of all."""
    return all(bool(torch.isfinite(piece).all()) for piece in params.split(_PIECE))


def _flatten(path: Path, state: Mapping[str, Any], prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The numbers of a nested state as they are nested; its tensors go to `tensors` by names joined with `/`."""
    rest: dict[str, Any] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not key or "/" in key:
            raise SnapshotError(f"{path}: not written, as {prefix}{key!r} cannot be a name; use a string without /")
        if isinstance(value, Tensor):
            _check_tensor(path, prefix + key, key, value)
            tensors[prefix + key] = value
        elif isinstance(value, Mapping):
            rest[key] = _flatten(path, value, f"{prefix}{key}/", tensors)
        else:
            rest[key] = value
    return rest


def _check_tensor(path: Path, place: str, name: object, tensor: object) -> None:
    if not isinstance(name, str) or not isinstance(tensor, Tensor):
        kinds = f"{type(name).__name__} and {type(tensor).__name__}"
        raise SnapshotError(f"{path}: not written, as {place} must be a string and a tensor, not {kinds}")
    if tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
        raise SnapshotError(
            f"{path}: not written, as {place} is {tensor.dtype} ({tensor.layout}), which has no place in it"
        )


def _json(path: Path, header: dict[str, Any]) -> str:
    """JSON from which every float comes back as it was, and which `_decode` takes."""
    try:
        text = json.dumps(header, allow_nan=False, sort_keys=True)
        decode(text)
    except (TypeError, ValueError, RecursionError, ConfigError) as error:
        raise SnapshotError(f"{path}: not written, as JSON cannot hold its metadata or state: {error}") from error
    return text


def _write(path: Path, text: str, tensors: Mapping[str, Tensor]) -> None:
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    write_tensors(path, {KEY: text}, {name: _entry(tensor) for name, tensor in ordered}, max_header=MAX_HEADER_BYTES)


def _entry(tensor: Tensor) -> Entry:
    def data() -> memoryview:
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        return memoryview(flat.view(torch.uint8).numpy())

    return Entry(_DTYPES[tensor.dtype], tensor.shape, tensor.numel() * tensor.element_size(), data)


# Reading


def load_model(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    backend: str = "warp",
    precision: str | None = None,
    threads: int | None = None,
) -> Model:
    """Read a model, which then gives what the saved one gave, by its average over training where there was one.

    The average stays what it is when `params` are changed; a `Trainer` made for the model puts its own in its place.

    Args:
        path: What `save_model` or `save_training` wrote.
        device: Torch device; CUDA where there is one unless given.
        backend: `warp`, `reference` or `tinycudann`.
        precision: Of matrix products; that of the saved model unless given.
        threads: Threads on the CPU; one per core unless given.

    Raises:
        SnapshotError: The file cannot be read, is damaged or of another kind.
        ConfigError: No such backend, or not with this precision.
        DeviceError: No such device.

    Warns:
        SnapshotWarning: The saved precision is not to be had there, or was float16 of a GPU and this is a CPU, on which that
            is slow: the fastest is taken.
    """
    with _opened(path) as file:
        snapshot = file.mapped()
    return snapshot.model(device=device, backend=backend, precision=precision, threads=threads)


def read_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Read all that a file holds but the state of a trainer. Raises `SnapshotError`."""
    with _opened(path) as file:
        return file.copied()


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the JSON data that was added to a model, and none of its tensors. Raises `SnapshotError`."""
    with _opened(path) as file:
        return file.header.metadata


def load_training(
    trainer: Trainer, path: str | os.PathLike[str], *, check: Callable[[Snapshot], None] | None = None
) -> Snapshot:
    """Go on with a saved training: its parameters to the trainer's model, its state to the trainer.

        trainer = Trainer(load_model(path))
        load_training(trainer, path)

    With the same batches, on the same device and in the same precision, steps are bit-identical to those of the saved trainer.

    Args:
        trainer: The trainer.
        path: What `save_training` wrote.
        check: Called with what the file holds before anything changes; what it raises is passed on.

    Returns:
        What the file holds; its tensors are the file itself, mapped into memory, to be copied and not to be written to.

    Raises:
        SnapshotError: The file cannot be read, is damaged, holds no training, or that of another model or optimizer; then
            nothing has changed.
    """
    with _opened(path) as file:
        snapshot = file.mapped()
        if check is not None:
            check(snapshot)
        state = file.state()
    model = trainer.model
    for name in ("n_input_dims", "n_output_dims"):
        ours, theirs = getattr(model, name), getattr(snapshot, name)
        if ours != theirs:
            raise SnapshotError(f"{snapshot.path}: of another model, as {name} is {theirs} and not {ours}")
    for name in ("encoding", "network"):
        if getattr(model.config, name) != getattr(snapshot.config, name):
            raise SnapshotError(f"{snapshot.path}: of another model, as its {name} has another configuration")
    try:
        trainer.load_state(state)
    except (NrcError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise SnapshotError(f"{snapshot.path}: not a state of this trainer: {one_line(error)}") from error
    model.set_params(snapshot.params)
    return snapshot


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_File]:
    """Open a file and check all but the contents of tensors."""
    path = Path(path)
    with opened_tensors(path, "pt", kind="snapshot", error=SnapshotError, max_header=MAX_HEADER_BYTES) as tensors:
        yield _File(path, tensors)


class _File:
    """An open file whose header has been checked.

    Args:
        path: Its name, for messages.
        tensors: What safetensors opened. Its tensors are the file itself, mapped into memory, also after it was closed.
    """

    def __init__(self, path: Path, tensors: Any) -> None:
        self.path = path
        self._tensors = tensors
        self._names = set(tensors.keys())
        try:
            document = decode((tensors.metadata() or {}).get(KEY, "{}"))
            self._check_version(document)
            self.header = msgspec.convert(document, _Header)
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
            raise SnapshotError(f"{self.path}: a safetensors file, but not one of a model of {FORMAT}")
        version = document.get("version")
        if isinstance(version, int) and version > VERSION:
            raise SnapshotError(
                f"{self.path}: written by a newer release (format {version}, this one reads up to {VERSION}); "
                "upgrade nrc-tracer"
            )

    def _config(self) -> configuration.ModelConfig:
        data = self.header.config
        if "parent" in data:  # which would have another file read
            raise ConfigError("config.parent: a snapshot has none")
        config = configuration.read_model(data, n_input_dims=self.header.n_input_dims)
        # Before a list is made of the layers, of which each has parameters
        layers = sum(network.n_hidden_layers for network in configuration.networks(config))
        if layers > self._shape("params")[0]:
            raise ConfigError(f"config.network: {layers} layers are more than there are parameters")
        return config

    def _check_names(self) -> None:
        known = {"params", "inference_params"}
        for name in sorted(self._names - known):
            if not name.startswith(_EXTRA) and not (name.startswith(_TRAINING) and self.header.training is not None):
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
        except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:  # a type that torch has not
            raise self._damaged(f"{name[:60]!r} cannot be read: {one_line(error)}") from error

    def _params(self, name: str) -> Tensor:
        params = self._tensor(name)
        if not _is_finite(params):
            raise self._damaged(f"{name} has values that are not finite")
        return params

    def copied(self) -> Snapshot:
        """All but the training, in memory of its own."""
        mapped = self.mapped()
        return replace(
            mapped,
            params=mapped.params.clone(),
            inference_params=None if mapped.inference_params is None else mapped.inference_params.clone(),
            extra={name: tensor.clone() for name, tensor in mapped.extra.items()},
        )

    def mapped(self) -> Snapshot:
        """The same, for those who copy at once what they need of it: its tensors are the file itself."""
        header = self.header
        names = sorted(name for name in self._names if name.startswith(_EXTRA))
        return Snapshot(
            path=self.path,
            config=self.config,
            n_input_dims=header.n_input_dims,
            n_output_dims=header.n_output_dims,
            seed=header.seed,
            precision=header.precision,
            device=header.device,
            params=self._params("params"),
            inference_params=self._params("inference_params") if "inference_params" in self._names else None,
            extra={name.removeprefix(_EXTRA): self._tensor(name) for name in names},
            metadata=header.metadata,
        )

    def state(self) -> dict[str, Any]:
        """The state of the trainer, its tensors put back in their places; they are mapped, as in `mapped`."""
        state = self.header.training
        if state is None:
            raise SnapshotError(
                f"{self.path}: holds a model without its training, which cannot go on; load the model alone"
            )
        for name in sorted(self._names):
            if not name.startswith(_TRAINING):
                continue
            *folders, leaf = name.removeprefix(_TRAINING).split("/")
            place: Any = state
            for folder in folders:
                place = place.get(folder) if isinstance(place, dict) else None
            if not isinstance(place, dict) or leaf in place:
                raise self._damaged(f"a tensor {name[:60]!r} that has no place")
            place[leaf] = self._tensor(name)
        return state

    def _damaged(self, problem: str) -> SnapshotError:
        return SnapshotError(f"{self.path}: not a snapshot, or damaged: {problem}")
