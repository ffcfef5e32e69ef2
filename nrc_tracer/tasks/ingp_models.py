"""Models of images and shapes from the snapshots of instant-ngp, which hold neither an image's size nor a mesh's place."""

from __future__ import annotations

import os

import torch

from nrc_tracer.errors import SnapshotError
from nrc_tracer.nn.instant_ngp import read_ingp
from nrc_tracer.tasks.image.decode import ImageInfo
from nrc_tracer.tasks.image.neural_image import NeuralImage
from nrc_tracer.tasks.sdf.shape import NeuralShape

IMAGE_SIDE = 4096
"""Side in pixels that an image counts as having. Snapshots do not tell its size, so it is shown as a square."""


def load_ingp(
    path: str | os.PathLike[str], *, device: str | torch.device | None = None, threads: int | None = None
) -> NeuralImage | NeuralShape:
    """Read the model of an image or a shape from a snapshot of instant-ngp.

    Shapes lie in the unit cube.

    Args:
        path: The snapshot, `.ingp` or `.msgpack`.
        device: Torch device; CUDA if available, if None.
        threads: Threads on the CPU; one per core if None.

    Raises:
        SnapshotError: The file cannot be read, or holds another kind of model.
    """
    snapshot = read_ingp(path)
    if snapshot.mode == "image":
        info = ImageInfo(IMAGE_SIDE, IMAGE_SIDE, 3, "srgb", 8, floating=False)
        return NeuralImage(snapshot.image_model(device=device, threads=threads), info)
    if snapshot.mode == "sdf":
        place = {"center": (0.5, 0.5, 0.5), "scale": 1.0, "bounds": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))}
        return NeuralShape(snapshot.sdf_model(device=device, threads=threads), place)
    raise SnapshotError(
        f'{path}: of instant-ngp\'s snapshots, images and shapes can be shown, and this one is of mode "{snapshot.mode}"'
    )
