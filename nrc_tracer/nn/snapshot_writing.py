"""Writing models and their training to files: `nrc_tracer.nn.snapshot_format` describes what the files hold.

Nothing here depends on `Model` or `Trainer`: two protocols list what is needed of them.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError, SnapshotError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.files.tensor_file import TensorSource, write_tensors
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.config.document import decode
from nrc_tracer.nn.snapshot_format import EXTRA, FORMAT, KEY, MAX_HEADER_BYTES, TRAINING, VERSION, is_finite

DTYPES = {
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


class SavedModel(Protocol):
    """The parts of a `Model` that a file holds."""

    config: configuration.ModelConfig
    seed: int
    device: torch.device
    params: Tensor

    @property
    def n_input_dims(self) -> int: ...
    @property
    def n_output_dims(self) -> int: ...
    @property
    def precision(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def inference_params(self) -> Tensor: ...


class SavedTrainer(Protocol):
    """The parts of a `Trainer` that a file holds."""

    config: configuration.ModelConfig

    @property
    def model(self) -> SavedModel: ...
    def state(self, *, copy: bool = True) -> dict[str, Any]: ...


def save_model(
    model: SavedModel,
    path: str | os.PathLike[str],
    *,
    extra: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model's configuration and parameters. An existing file is replaced only when the new one is complete.

    Args:
        model: The model, on any device.
        path: The file, usually `.safetensors`.
        extra: Additional tensors, of any shape.
        metadata: Additional JSON data.

    Returns:
        The path.

    Raises:
        SnapshotError: The file cannot be written, parameters are not finite, or additional data cannot be stored.
    """
    return _save(model, None, path, extra, metadata)


def save_training(
    trainer: SavedTrainer,
    path: str | os.PathLike[str],
    *,
    extra: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a trainer's model as `save_model` does, with the state that training needs to continue bit for bit: see
    `load_training`."""
    return _save(trainer.model, trainer, path, extra, metadata)


def training_to_bytes(
    trainer: SavedTrainer,
    name: str,
    *,
    extra: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """The contents of the file that `save_training` would write; `name` is its name in messages."""
    file = io.BytesIO()
    try:
        _write(Path(name), file, *_contents(Path(name), trainer.model, trainer, extra, metadata))
    except OSError as error:
        raise SnapshotError(f"{name}: not written: {error}") from error
    return file.getvalue()


def inference_to_bytes(
    model: SavedModel, name: str, *, averaged: bool = True, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """The contents of a file like that of `save_model`, with the parameters for inference alone.

    Args:
        model: The model.
        name: Name of the file in messages.
        averaged: Whether these are `inference_params`; else `params`, the parameters in training.
        metadata: Additional JSON data.

    Raises:
        SnapshotError: Parameters are not finite, or the metadata cannot be stored.
    """
    header, tensors = _contents(Path(name), model, None, None, metadata)
    chosen = tensors.get("inference_params") if averaged else None
    file = io.BytesIO()
    _write(Path(name), file, header, {"params": tensors["params"] if chosen is None else chosen})
    return file.getvalue()


def _save(
    model: SavedModel,
    trainer: SavedTrainer | None,
    path: str | os.PathLike[str],
    extra: Mapping[str, Tensor] | None,
    metadata: Mapping[str, Any] | None,
) -> Path:
    path = Path(path)
    header, tensors = _contents(path, model, trainer, extra, metadata)
    with replacing(path, error=SnapshotError) as temporary, temporary.open("xb") as file:
        _write(path, file, header, tensors)
    return path


def _contents(
    path: Path,
    model: SavedModel,
    trainer: SavedTrainer | None,
    extra: Mapping[str, Tensor] | None,
    metadata: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The data of a `Header`, and the tensors by name; `path` is for messages."""
    tensors = {"params": model.params}
    # Before the trainer's state, since asking for the average may update it
    averaged = model.inference_params
    if averaged is not model.params:
        tensors["inference_params"] = averaged
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise SnapshotError(f"{path}: not written, as {name} has values that are not finite: training has diverged")
    for name, tensor in (extra or {}).items():
        _check_tensor(path, f"extra[{name!r}]", name, tensor)
        tensors[EXTRA + name] = tensor
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
        "form": model.form,
        "device": model.device.type,
        "config": configuration.to_json(config),
    }
    if trainer is not None:
        header["training"] = _flatten(path, trainer.state(copy=False), TRAINING, tensors)
    if metadata:
        header["metadata"] = dict(metadata)
    return header, tensors


def _flatten(path: Path, state: Mapping[str, Any], prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Split a nested state: return its numbers, nested as before, and put its tensors into `tensors`, with names joined by `/`.

    Raises:
        SnapshotError: A file cannot hold a name or a tensor.
    """
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
    """Raise `SnapshotError` unless `tensor` is a tensor that a file can hold and `name` is a string."""
    if not isinstance(name, str) or not isinstance(tensor, Tensor):
        kinds = f"{type(name).__name__} and {type(tensor).__name__}"
        raise SnapshotError(f"{path}: not written, as {place} must be a string and a tensor, not {kinds}")
    if tensor.dtype not in DTYPES or tensor.layout != torch.strided:
        raise SnapshotError(
            f"{path}: not written, as {place} is {tensor.dtype} ({tensor.layout}), which a snapshot cannot hold"
        )


def _write(path: Path, file: IO[bytes], header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a file.

    Args:
        path: Its name, for messages.
        file: Where it is written.
        header: What `Header` reads.
        tensors: The tensors by name; those of the largest types come first, so that each is aligned.

    Raises:
        SnapshotError: JSON cannot hold the header.
    """
    metadata = {KEY: _json(path, header)}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    write_tensors(file, metadata, {name: _source(tensor) for name, tensor in ordered}, max_header=MAX_HEADER_BYTES)


def _json(path: Path, header: Mapping[str, Any]) -> str:
    """JSON that `decode` accepts and from which every float is read back exactly."""
    try:
        text = json.dumps(header, allow_nan=False, sort_keys=True)
        decode(text)
    except (TypeError, ValueError, RecursionError, ConfigError) as error:
        raise SnapshotError(f"{path}: not written, as JSON cannot hold its metadata or state: {error}") from error
    return text


def _source(tensor: Tensor) -> TensorSource:
    def data() -> memoryview:
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        return flat.view(torch.uint8).numpy().data

    return TensorSource(DTYPES[tensor.dtype], tensor.shape, tensor.numel() * tensor.element_size(), data)
