"""What all tasks have in common: a model in training on data of its own, kept in a snapshot."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import warp as wp
from torch import Tensor

from nrc_tracer import nn
from nrc_tracer.errors import SnapshotError
from nrc_tracer.nn.snapshot import Snapshot, load_training, read_metadata, read_snapshot
from nrc_tracer.nn.snapshot_writing import save_training

KEY = "task"
"""Of a snapshot's metadata: the kind of task, whose own metadata stands under the kind's name."""


class Task(ABC):
    """A model in training on an image, a shape or photographs.

    What a step does depends on the seed, the number of the step and the state that a snapshot holds, and on nothing else: a
    training that goes on from a snapshot comes to the same bits.

    Attributes:
        kind: `image`, `sdf` or `nerf`.
        modules: Python modules with the kernels of a step, those of the model apart.
        trainer: Trains the model.
        seed: Of everything random, the initial parameters among it.
    """

    kind: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = (
        "nrc_tracer.nn.optimizers.adam_kernels",
        "nrc_tracer.nn.optimizers.ema_kernels",
    )
    trainer: nn.Trainer
    seed: int

    @property
    def number(self) -> int:
        """Steps so far, those that were skipped among them."""
        return self.trainer.steps + self.trainer.skipped_steps

    def generator(self, device: str | torch.device = "cpu", *, stream: int = 0) -> torch.Generator:
        """Random numbers of the next step; those of another `stream` are independent of them."""
        key = f"{self.kind}/{self.seed}/{self.number}/{stream}".encode()
        generator = torch.Generator(device)
        generator.manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1)
        return generator

    def compile(self) -> None:
        """Load the kernels of a step before its time is counted; the first time on a machine this compiles them."""
        model = self.trainer.model
        x = torch.full((2, model.n_input_dims), 0.5, device=model.device)
        model.backend.gradient(x, model.params, lambda output: (output.sum(), torch.ones_like(output)))
        model(x)
        wp.force_load(str(wp.device_from_torch(model.device)), modules=[wp.get_module(name) for name in self.modules])

    @abstractmethod
    def step(self) -> Tensor:
        """Take one step of training. Returns its loss, 0-d."""

    @abstractmethod
    def score(self) -> dict[str, float]:
        """How good the model is now, in few figures from held-out samples; takes some tenths of a second at most."""

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """JSON data that a user of the snapshot needs without the task's data: no clock times, no places on this machine."""

    def tensors(self) -> dict[str, Tensor]:
        """What the next steps depend on besides the trainer."""
        return {}

    def check(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Raise `SnapshotError` where what `metadata` and `tensors` gave is not of this task's data and options."""

    def restore(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Go on from what has been checked; the tensors are the file itself, to be copied."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a snapshot from which the training can go on. Raises `SnapshotError`."""
        metadata = {KEY: self.kind, self.kind: self.metadata()}
        return save_training(self.trainer, path, extra=self.tensors(), metadata=metadata)

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Go on from a snapshot.

        Raises:
            SnapshotError: It cannot be read, or is of another task, model, data or optimizer; then nothing has changed.
        """

        def check(snapshot: Snapshot) -> None:
            _check_kind(path, snapshot.metadata, self.kind)
            if snapshot.seed != self.seed:
                raise SnapshotError(f"{path}: was begun with seed {snapshot.seed}, not {self.seed}")
            if snapshot.precision != self.trainer.model.precision:
                raise SnapshotError(
                    f"{path}: was trained in {snapshot.precision}, this is {self.trainer.model.precision}, so it cannot go "
                    "on to the same bits; go on where it began"
                )
            try:
                self.check(snapshot.metadata[self.kind], snapshot.extra)
            except SnapshotError as error:
                raise SnapshotError(f"{path}: {error}") from error

        snapshot = load_training(self.trainer, path, check=check)
        self.restore(snapshot.metadata[self.kind], snapshot.extra)


def read_task(path: str | os.PathLike[str], kind: str | None = None) -> Snapshot:
    """Read the snapshot of a task, whose own metadata stands under the kind's name.

    Raises:
        SnapshotError: The file cannot be read, or is not of a task, or not of this kind.
    """
    snapshot = read_snapshot(path)
    _check_kind(path, snapshot.metadata, kind)
    return snapshot


def read_kind(path: str | os.PathLike[str]) -> str:
    """The kind of task that a snapshot is of.

    Raises:
        SnapshotError: The file cannot be read, or is not of a task.
    """
    return _check_kind(path, read_metadata(path), None)


def _check_kind(path: str | os.PathLike[str], metadata: Mapping[str, Any], kind: str | None) -> str:
    found = metadata.get(KEY)
    if not isinstance(found, str) or not isinstance(metadata.get(found), dict):
        raise SnapshotError(f"{path}: a model, but not of an image, a shape or a radiance field (see nrc-tracer fit)")
    if kind is not None and found != kind:
        raise SnapshotError(f'{path}: the snapshot of "fit {found}", not of "fit {kind}"')
    return found
