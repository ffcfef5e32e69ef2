"""What all tasks have in common: a model in training on data of its own, and its snapshot."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.errors import SnapshotError
from nrc_tracer.nn.snapshot import Snapshot, load_training, read_metadata, read_snapshot
from nrc_tracer.nn.snapshot_writing import save_training
from nrc_tracer.nn.trainer import Trainer
from nrc_tracer.tasks.digests import digest64

KEY = "task"
"""Key of a snapshot's metadata that holds the kind of task; the task's own metadata are under the kind's name."""


class Task(ABC):
    """A model in training on an image, a shape or photographs.

    A step depends only on the seed, the step's number and the state that a snapshot holds: training resumed from a snapshot gives
    the same bits as training without a stop.

    Attributes:
        kind: `image`, `sdf` or `nerf`.
        modules: Python modules with the kernels of a step, other than the model's.
        trainer: Trainer of the model.
        seed: Seed of everything random, including the initial parameters.
    """

    kind: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = (
        "nrc_tracer.nn.optimizers.adam_kernels",
        "nrc_tracer.nn.optimizers.ema_kernels",
    )
    trainer: Trainer
    seed: int

    @property
    def number(self) -> int:
        """Number of steps so far, including skipped ones."""
        return self.trainer.steps + self.trainer.skipped_steps

    def generator(self, device: str | torch.device = "cpu", *, stream: int = 0) -> torch.Generator:
        """A random generator for the next step; those of different `stream`s are independent."""
        key = digest64(f"{self.kind}/{self.seed}/{self.number}/{stream}".encode())
        generator = torch.Generator(device)
        generator.manual_seed(key >> 1)
        return generator

    def compile(self) -> None:
        """Load the kernels of a step before its time is counted; this compiles them the first time on a machine."""
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
        """How good the model is now, from held-out samples; takes a few tenths of a second at most."""

    def evaluate(self) -> dict[str, Any]:
        """The final scores, JSON data, from all held-out samples; may take minutes."""
        return dict(self.score())

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """JSON data that a user of the snapshot needs without the task's data; no clock times and no paths of this machine."""

    def tensors(self) -> dict[str, Tensor]:
        """Tensors that the next steps depend on, other than the trainer's."""
        return {}

    def check(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Raise `SnapshotError` if `metadata` and `tensors` of a snapshot do not belong to this task's data and options."""

    def restore(self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Go on from checked metadata and tensors; the tensors are memory-mapped from the file, so copy them."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a snapshot from which training can be resumed. Raises `SnapshotError`."""
        metadata = {KEY: self.kind, self.kind: self.metadata()}
        return save_training(self.trainer, path, extra=self.tensors(), metadata=metadata)

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Go on from a snapshot.

        Raises:
            SnapshotError: It cannot be read, or belongs to another task, model, data or optimizer; nothing has changed then.
        """

        def check(snapshot: Snapshot) -> None:
            _check_kind(path, snapshot.metadata, self.kind)
            if snapshot.seed != self.seed:
                raise SnapshotError(f"{path}: was started with seed {snapshot.seed}, not {self.seed}")
            if snapshot.precision != self.trainer.model.precision:
                raise SnapshotError(
                    f"{path}: was trained in {snapshot.precision}, and this machine trains in {self.trainer.model.precision}, so "
                    "it cannot give the same bits; resume it where it was started"
                )
            try:
                self.check(snapshot.metadata[self.kind], snapshot.extra)
            except SnapshotError as error:
                raise SnapshotError(f"{path}: {error}") from error

        snapshot = load_training(self.trainer, path, check=check)
        self.restore(snapshot.metadata[self.kind], snapshot.extra)


def read_task(path: str | os.PathLike[str], kind: str | None = None) -> Snapshot:
    """Read the snapshot of a task.

    Args:
        path: The file.
        kind: Kind of task that it must be of; any if None.

    Raises:
        SnapshotError: The file cannot be read, or is not the snapshot of a task, or of another kind.
    """
    snapshot = read_snapshot(path)
    _check_kind(path, snapshot.metadata, kind)
    return snapshot


def read_kind(path: str | os.PathLike[str]) -> str:
    """The kind of task of a snapshot.

    Raises:
        SnapshotError: The file cannot be read, or is not the snapshot of a task.
    """
    return _check_kind(path, read_metadata(path), None)


def _check_kind(path: str | os.PathLike[str], metadata: Mapping[str, Any], kind: str | None) -> str:
    found = metadata.get(KEY)
    if not isinstance(found, str) or not isinstance(metadata.get(found), dict):
        raise SnapshotError(f"{path}: a model, but not of an image, a shape or a radiance field (see nrc-tracer fit)")
    if kind is not None and found != kind:
        raise SnapshotError(f'{path}: a snapshot of "fit {found}", not of "fit {kind}"')
    return found
