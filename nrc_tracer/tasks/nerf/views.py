"""Photographs whose cameras are known, split into those to learn from and those to be measured on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import Camera
from nrc_tracer.tasks.nerf.photographs import read_mask, read_photograph

HOLD_OUT = 8
"""Where data have no test images, every one of so many is held out, in the order of file names."""


@dataclass(frozen=True, eq=False)
class View:
    """A photograph and its camera.

    Attributes:
        name: The image as its data set calls it.
        camera: Where and how it was taken.
        image: Its file; or its pixels, uint8 [height, width, 3 or 4], sRGB, alpha straight.
        mask_image: File of a mask, or the mask, bool [height, width]: True where pixels count. None if all do.
        mask_inverted: Whether the file has it the other way round.
        has_alpha: Whether the image has an alpha channel.
    """

    name: str
    camera: Camera
    image: Path | np.ndarray
    mask_image: Path | np.ndarray | None = None
    mask_inverted: bool = False
    has_alpha: bool = False

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [height, width, 3 or 4], sRGB, alpha straight; read from the file every time.

        Raises:
            DataError: The image cannot be read, or has not the size that its camera has.
        """
        pixels = self.image
        if isinstance(pixels, Path):
            pixels = read_photograph(pixels, self.name)
        self._check_size(pixels, "image")
        return pixels

    @property
    def mask(self) -> np.ndarray | None:
        """bool [height, width], True where pixels count, or None if all do; read from the file every time. Raises `DataError`."""
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
                f"{self.name}: the {what} has {width} x {height} pixels and its camera "
                f"{self.camera.width} x {self.camera.height}"
            )


@dataclass(frozen=True, eq=False)
class Views:
    """A set of photographs.

    The model's coordinates are u = position * scale + offset, and the scene lies in the cube of side `aabb_scale` around
    (0.5, 0.5, 0.5). This is instant-ngp's convention, but for its order of axes: it goes on to call them y, z, x, which moves
    neither cube, so that `scale`, `offset` and `aabb_scale` of its files mean the same here.

    Attributes:
        train: To learn from.
        validation: To look at while learning; may be empty.
        test: To be measured on in the end; empty where there is but one view.
        aabb_scale: Side of the cube that holds the scene, a power of two from 1 on.
        scale: From the data's units to the model's.
        offset: Three numbers.
        missing: Files that the data name and that do not exist; they are left out.
        has_alpha: Whether any image has an alpha channel.
        split: How the test views were chosen.
        source: The file or folder they come from.
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
        """Every view."""
        return (*self.train, *self.validation, *self.test)


def read_views(
    path: str | os.PathLike[str],
    *,
    aabb_scale: float | None = None,
    scale: float | None = None,
    offset: Sequence[float] | None = None,
) -> Views:
    """Read a set of photographs; images are opened to see their sizes, and read when they are used.

    Args:
        path: A transforms.json; a folder with one, or with transforms_train.json (and _val, _test); or a COLMAP model's folder
            or one that has it in `sparse/0` or `sparse`, with the images in `images`.
        aabb_scale: Instead of what the data say.
        scale: Instead of what the data say, or of what would be chosen.
        offset: Likewise.

    Raises:
        DataError: There is no such data, or something in it is off; the message names the file and the frame.
    """
    from nrc_tracer.tasks.nerf.colmap import find_model, read_colmap_views
    from nrc_tracer.tasks.nerf.transforms_json import read_transforms

    path = Path(path)
    placement = Placement(aabb_scale, scale, None if offset is None else tuple(offset))
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise DataError(
                f"{path}: not a set of photographs; give a transforms.json, or a folder with one or with a COLMAP model"
            )
        if path.name == "transforms_train.json":
            return read_transforms(path, placement, with_splits=True)
        return read_transforms(path, placement)
    if (path / "transforms_train.json").is_file():
        return read_transforms(path / "transforms_train.json", placement, with_splits=True)
    if (path / "transforms.json").is_file():
        return read_transforms(path / "transforms.json", placement)
    if (model := find_model(path)) is not None:
        return read_colmap_views(path, model, placement)
    raise DataError(
        f"{path}: has neither transforms.json nor transforms_train.json nor a COLMAP model (cameras.txt or .bin, in it or in "
        "sparse/0)"
    )


@dataclass(frozen=True)
class Placement:
    """What somebody says of where the scene lies in the model's coordinates; None for nothing."""

    aabb_scale: float | None = None
    scale: float | None = None
    offset: tuple[float, float, float] | None = None


def hold_out(views: Sequence[View]) -> tuple[tuple[View, ...], tuple[View, ...], str]:
    """Split views into those to learn from and those to be measured on, and say how."""
    ordered = sorted(views, key=lambda view: view.name)
    if len(ordered) < 2:
        return tuple(ordered), (), "no frame held out, as there is but one"
    test = tuple(ordered[::HOLD_OUT])
    train = tuple(view for index, view in enumerate(ordered) if index % HOLD_OUT)
    return train, test, f"every {HOLD_OUT}th frame held out"
