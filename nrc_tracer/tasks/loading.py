"""Loading the model of any task from its snapshot."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from nrc_tracer.errors import SnapshotError, nearest
from nrc_tracer.tasks.image.neural_image import NeuralImage, load_neural_image
from nrc_tracer.tasks.nerf.neural_scene import NeuralScene, load_neural_scene
from nrc_tracer.tasks.sdf.shape import NeuralShape, load_neural_shape
from nrc_tracer.tasks.task import read_kind

NeuralModel = NeuralImage | NeuralShape | NeuralScene
"""What the tasks learn."""

LOADERS: dict[str, Callable[..., NeuralModel]] = {
    "image": load_neural_image,
    "sdf": load_neural_shape,
    "nerf": load_neural_scene,
}
"""Loaders by kind of task."""


def load(
    path: str | os.PathLike[str], *, device: str | torch.device | None = None, threads: int | None = None
) -> NeuralModel:
    """Load a fitted model from the snapshot that `fit_image`, `fit_sdf`, `fit_nerf` or `nrc-tracer fit` wrote.

    Args:
        path: The snapshot.
        device: Torch device; CUDA if available, if None.
        threads: Threads on the CPU; one per core if None.

    Returns:
        A `NeuralImage`, `NeuralShape` or `NeuralScene`, by the kind of the task.

    Raises:
        SnapshotError: The file cannot be read, or is not the snapshot of one of these tasks.
        DeviceError: There is no such device.
    """
    kind = read_kind(path)
    if kind not in LOADERS:
        raise SnapshotError(f'{path}: the snapshot of an unknown task "{kind:.40}"{nearest(kind, LOADERS)}')
    return LOADERS[kind](path, device=device, threads=threads)
