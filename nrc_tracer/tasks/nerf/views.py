"""Photographs with known cameras, split into those for training and those held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.photographs import read_mask, read_photograph

HOLD_OUT = 8
"""If the data have no test images, one of this many views is held out, in the order of file names."""


@dataclass(frozen=True, eq=False)
class View:
    """A photograph and its camera.

    Attributes:
        name: The image's name in its data set.
        camera: The camera that took it.
        image: The image's file, or its pixels, uint8 [height, width, 3 or 4], sRGB with straight alpha.
        mask_image: A mask's file, or the mask, bool [height, width], True where pixels count; None if all count.
        mask_inverted: Whether True in the mask's file means that pixels do not count.
        has_alpha: Whether the image has an alpha channel.
        upright: Whether the camera is that of the image as it is shown, with its EXIF orientation applied, and not of the pixels
            as they are stored.
    """

    name: str
    camera: PhotoCamera
    image: Path | np.ndarray
    mask_image: Path | np.ndarray | None = None
    mask_inverted: bool = False
    has_alpha: bool = False
    upright: bool = True

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [height, width, 3 or 4], sRGB with straight alpha; a file is read again every time.

        Raises:
            DataError: The image cannot be read, or its size is not its camera's.
        """
        pixels = self.image
        if isinstance(pixels, Path):
            pixels = read_photograph(pixels, self.name, upright=self.upright)
        self._check_size(pixels, "image")
        return pixels

    @property
    def mask(self) -> np.ndarray | None:
        """bool [height, width], True where pixels count, or None if all do; a file is read every time. Raises `DataError`."""
        mask = self.mask_image
        if mask is None:
            return None
        if isinstance(mask, Path):
            mask = read_mask(mask, self.name)
            mask = ~mask if self.mask_inverted else mask
        self._check_size(mask, "mask")
        return mask

    def _check_size(self, pixels: np.ndarray, what: str) -> None:
        height, width = pixels.shape[:2]
        if (width, height) != (self.camera.width, self.camera.height):
            raise DataError(
                f"{self.name}: the {what} has {width} x {height} pixels, but its camera has "
                f"{self.camera.width} x {self.camera.height}"
            )


@dataclass(frozen=True, eq=False)
class Views:
    """A set of photographs.

    The model works in unit-cube space, u = position * scale + offset. The scene lies in the cube of side `aabb_scale` around
    (0.5, 0.5, 0.5). This is instant-ngp's convention except for its order of axes: instant-ngp then calls them y, z, x, which
    moves neither cube, so `scale`, `offset` and `aabb_scale` in its files mean the same here.

    Attributes:
        train: Views for training.
        validation: Views to look at during training; may be empty.
        test: Views held out for scores; empty if there is only one view.
        aabb_scale: Side of the cube that holds the scene, in unit cubes: a power of two, at least 1.
        scale: Factor from the data's units to unit cubes.
        offset: Position of the data's origin in unit-cube space.
        missing: Names of files that the data refer to and that do not exist; they are left out.
        has_alpha: Whether any image has an alpha channel.
        split: How the test views were chosen.
        source: The file or folder that the views come from.
        notes: What was decided or left out, one sentence each.
    """

    train: tuple[View, ...]
    validation: tuple[View, ...] = ()
    test: tuple[View, ...] = ()
    aabb_scale: int = 1
    scale: float = 0.33
    offset: tuple[float, float, float] = (0.5, 0.5, 0.5)
    missing: tuple[str, ...] = ()
    has_alpha: bool = False
    split: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[View, ...]:
        """All views."""
        return (*self.train, *self.validation, *self.test)


def hold_out(views: Sequence[View]) -> tuple[tuple[View, ...], tuple[View, ...], str]:
    """Split views into those for training and those held out, and say how in words."""
    ordered = sorted(views, key=lambda view: view.name)
    if len(ordered) < 2:
        return tuple(ordered), (), "no frame held out, as there is only one"
    test = tuple(ordered[::HOLD_OUT])
    train = tuple(view for index, view in enumerate(ordered) if index % HOLD_OUT)
    return train, test, f"every {HOLD_OUT}th frame held out"
