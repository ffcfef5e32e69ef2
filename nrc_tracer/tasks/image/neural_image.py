"""A fitted image: its colours at any position, crops at any scale, and files of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import DataError
from nrc_tracer.nn.model import Model
from nrc_tracer.tasks.image.decode import Crop, ImageInfo, check_crop, rows, write_picture
from nrc_tracer.tasks.image.pixels import Space
from nrc_tracer.tasks.image.prediction import predict
from nrc_tracer.tasks.task import read_task


class NeuralImage:
    """An image that a network has learnt.

        image = nrc.tasks.load("earth.safetensors")
        image.crop(5000, 3000, 640, 480, scale=2.0)  # float32 [960, 1280, 3]
        image.save("closer.png", crop=(5000, 3000, 640, 480), scale=2.0)

    Colours are in the colour space of training, `space`: sRGB values or linear light, both with a peak of 1. `save` converts them
    to the space of the file.

    Args:
        model: Maps positions in [0, 1]^2 to colours.
        info: Facts of the image.

    Attributes:
        model: The network.
        info: Size, channels and sample type of the image.
    """

    def __init__(self, model: Model, info: ImageInfo) -> None:
        self.model = model
        self.info = info

    @property
    def width(self) -> int:
        """Width of the image in pixels."""
        return self.info.width

    @property
    def height(self) -> int:
        """Height of the image in pixels."""
        return self.info.height

    @property
    def space(self) -> Space:
        """Colour space of the colours, `srgb` or `linear`."""
        return self.info.space

    def colors(self, positions: ArrayLike) -> np.ndarray:
        """Colours at positions in the image.

        Args:
            positions: Column and row in pixels, [..., 2]; the centre of the first pixel is (0.5, 0.5), and row 0 is the top.

        Returns:
            float32 [..., channels].

        Raises:
            DataError: The positions are not an array [..., 2].
        """
        given = np.asarray(positions, np.float64)
        if given.shape[-1:] != (2,):
            raise DataError(f"positions: expected an array of shape [..., 2], not {list(given.shape)}")
        inputs = (given.reshape(-1, 2) / (self.width, self.height)).astype(np.float32)
        return predict(self.model, torch.from_numpy(inputs)).reshape(*given.shape[:-1], self.info.channels)

    def crop(self, x: int, y: int, width: int, height: int, scale: float = 1.0) -> np.ndarray:
        """The colours of a rectangle of the image, float32 [height * scale, width * scale, channels].

        Args:
            x, y: Left and top of the rectangle in pixels.
            width, height: Size of the rectangle in pixels.
            scale: Output pixels per image pixel along each axis.

        Raises:
            DataError: The rectangle is not inside the image, or the scale is impossible.
        """
        crop = check_crop(Crop(x, y, width, height), self.info)
        return np.concatenate(list(rows(self.model, self.info, crop, scale)))

    def save(
        self, path: str | os.PathLike[str], *, crop: tuple[int, int, int, int] | None = None, scale: float = 1.0
    ) -> Path:
        """Write the image, or a crop of it, row by row: `.png` (sRGB), `.tif` (the image's own samples) or `.exr` (linear).

        Args:
            path: The file, which is replaced only when the new one is complete.
            crop: Left, top, width and height in pixels; the whole image if None.
            scale: Output pixels per image pixel along each axis.

        Returns:
            The path.

        Raises:
            OutputError: The file cannot be written, or has another extension.
            DataError: The crop is not inside the image, or the scale is impossible.
        """
        rectangle = None if crop is None else check_crop(Crop(*crop), self.info)
        write_picture(self.model, self.info, Path(path), crop=rectangle, scale=scale)
        return Path(path)


def load_neural_image(
    path: str | os.PathLike[str], *, device: str | torch.device | None = None, threads: int | None = None
) -> NeuralImage:
    """Read an image from the snapshot of a fitted image.

    Args:
        path: The snapshot.
        device: Torch device; CUDA if available, if None.
        threads: Threads on the CPU; one per core if None.

    Raises:
        SnapshotError: The file cannot be read, or is of another task.
        DeviceError: There is no such device.
    """
    snapshot = read_task(path, "image")
    model = snapshot.model(device=find_torch_device(device), threads=threads)
    return NeuralImage(model, ImageInfo.read(Path(path), snapshot.metadata["image"], model))
