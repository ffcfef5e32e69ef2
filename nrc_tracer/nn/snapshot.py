"""Models and their training from files, on any device: `nrc_tracer.nn.snapshot_format` describes what the files hold."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import ConfigError, NrcError, SnapshotError, one_line
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.forms import FORMS
from nrc_tracer.nn.model import Model
from nrc_tracer.nn.snapshot_format import SnapshotBytes, SnapshotFile, opened_snapshot

if TYPE_CHECKING:
    from nrc_tracer.nn.trainer import Trainer


class SnapshotWarning(UserWarning):
    """A model is loaded with another precision than it was saved with."""


@dataclass(frozen=True)
class Snapshot:
    """The contents of a snapshot file, except for the state of a trainer.

    Attributes:
        path: The file.
        config: Configuration of model and training.
        n_input_dims: Input columns.
        n_output_dims: Output columns.
        seed: Seed of the initial parameters.
        precision: Name of the type of matrix products' operands, such as `float32`.
        form: Form of the kernels, as in `Model`; `auto` if the file does not tell.
        device: Type of the device that the model was on, `cpu` or `cuda`.
        params: float32 [n_params], on the CPU.
        inference_params: The average over training that inference uses, float32 [n_params]; None if it uses `params`.
        extra: Tensors that the caller added, on the CPU.
        metadata: JSON data that the caller added.
    """

    path: Path
    config: configuration.ModelConfig
    n_input_dims: int
    n_output_dims: int
    seed: int
    precision: str
    form: str
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
        if (
            precision is None
            and chosen == "float16"
            and self.device == "cuda"
            and find_torch_device(device).type == "cpu"
        ):
            # A CPU has it, but tens of times slower than float32
            chosen, note = "auto", "float16 is slow on a CPU"
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

    def form_with(self, precision: str, device: str | torch.device | None) -> str:
        """The form of the saved model, if the new one is to have its precision and kind of device; else `auto`."""
        same = precision == self.precision and find_torch_device(device).type == self.device
        return self.form if same and self.form in FORMS else "auto"

    def _build(self, device: str | torch.device | None, backend: str, precision: str, threads: int | None) -> Model:
        model = Model(
            self.n_input_dims,
            self.n_output_dims,
            self.config,
            device=device,
            seed=self.seed,
            backend=backend,
            precision=precision,
            form=self.form_with(precision, device),
            threads=threads,
            params=self.params,
        )
        if self.inference_params is not None:
            averaged = self.inference_params.to(model.device, copy=True)
            model.set_average(lambda: averaged)
        return model


def load_model(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    backend: str = "warp",
    precision: str | None = None,
    threads: int | None = None,
) -> Model:
    """Read a model. It gives the same outputs as the saved one, from its average over training if there was one.

    That average does not follow later changes of `params`; a `Trainer` made for the model replaces it by its own.

    Args:
        path: A file that `save_model` or `save_training` wrote.
        device: Torch device; a GPU if there is one unless given.
        backend: `warp`, `reference` or `tinycudann`.
        precision: Type of matrix products' operands; that of the saved model unless given.
        threads: Threads on the CPU; one per core unless given.

    Raises:
        SnapshotError: The file cannot be read, is damaged or of another kind.
        ConfigError: There is no such backend, or it does not have this precision.
        DeviceError: There is no such device.

    Warns:
        SnapshotWarning: The saved precision is not available, or is float16 from a GPU, which is slow on this CPU: the fastest
            precision is used.
    """
    with opened_snapshot(path) as file:
        snapshot = _mapped(file)
    return snapshot.model(device=device, backend=backend, precision=precision, threads=threads)


def read_snapshot(source: str | os.PathLike[str] | SnapshotBytes) -> Snapshot:
    """Read everything but the state of a trainer from a file or its contents in memory. Raises `SnapshotError`."""
    with opened_snapshot(source) as file:
        mapped = _mapped(file)
    return replace(
        mapped,
        params=mapped.params.clone(),
        inference_params=None if mapped.inference_params is None else mapped.inference_params.clone(),
        extra={name: tensor.clone() for name, tensor in mapped.extra.items()},
    )


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read only the JSON data that was added to a model, and no tensors. Raises `SnapshotError`."""
    with opened_snapshot(path) as file:
        return file.header.metadata


def load_training(
    trainer: Trainer,
    source: str | os.PathLike[str] | SnapshotBytes,
    *,
    check: Callable[[Snapshot], None] | None = None,
) -> Snapshot:
    """Continue a saved training: load its parameters into the trainer's model, and its state into the trainer.

        trainer = Trainer(load_model(path))
        load_training(trainer, path)

    With the same batches, on the same device and in the same precision, steps are bit-identical to those of the saved trainer.

    Args:
        trainer: The trainer.
        source: The file that `save_training` wrote, or its contents in memory.
        check: Called with the contents before anything changes; exceptions that it raises are passed on.

    Returns:
        What the file holds; its tensors are the file itself, mapped into memory, to be copied and not to be written to.

    Raises:
        SnapshotError: The file cannot be read, is damaged, holds no training, or that of another model or optimizer; then
            nothing has changed.
    """
    with opened_snapshot(source) as file:
        snapshot = _mapped(file)
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


def _mapped(file: SnapshotFile) -> Snapshot:
    """The contents except for the training. The tensors are the file itself, so callers copy what they keep."""
    header, (params, inference_params) = file.header, file.params()
    return Snapshot(
        path=file.path,
        config=file.config,
        n_input_dims=header.n_input_dims,
        n_output_dims=header.n_output_dims,
        seed=header.seed,
        precision=header.precision,
        form=header.form,
        device=header.device,
        params=params,
        inference_params=inference_params,
        extra=file.extra(),
        metadata=header.metadata,
    )
