"""Pictures of a model of an image: the whole or a crop at any scale, some rows at a time, and views that zoom in."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.imaging.row_files import MAX_SIDE, check_row_file, write_rows
from nrc_tracer.nn import Model
from nrc_tracer.tasks.image.pixels import SPACES, Space, to_linear, to_srgb
from nrc_tracer.tasks.image.prediction import PIECE, positions, predict
from nrc_tracer.tasks.image.source import Source

MAX_SAMPLES = 8
"""Per output pixel and axis, where the picture is made smaller than the image."""
PREVIEW_SIDE = 1024
ZOOM_SIDE, ZOOM_FACTOR = 320, 4.0
"""Of each view of a zoom [pixels], and how much each is nearer than the one before it."""
BORDER = 4
"""Between the views [pixels]."""


@dataclass(frozen=True)
class Picture:
    """What a snapshot tells about its image.

    Attributes:
        width, height: Of the image [pixels].
        channels: 1 or 3.
        space: In which the model learned.
        bits: Of a sample of the image.
        floating: Whether it has linear float samples.
    """

    width: int
    height: int
    channels: int
    space: Space
    bits: int
    floating: bool

    @classmethod
    def of(cls, source: Source, space: Space) -> Picture:
        """Of an image in training."""
        bits = 8 * source.dtype.itemsize
        return cls(source.width, source.height, source.channels, space, bits, source.linear)

    @classmethod
    def read(cls, path: Path, metadata: Mapping[str, Any], model: Model) -> Picture:
        """From the metadata of a snapshot. Raises `SnapshotError` where they are not an image's."""
        try:
            found = cls(
                width=int(metadata["width"]),
                height=int(metadata["height"]),
                channels=int(metadata["channels"]),
                space=metadata["space"],
                bits=8 * np.dtype(metadata["dtype"]).itemsize,
                floating=bool(metadata["linear_source"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"{path}: not the snapshot of an image, or damaged: {error}") from error
        fits = (model.n_input_dims, model.n_output_dims) == (2, found.channels) and found.channels in (1, 3)
        if not fits or found.space not in SPACES or not (0 < found.width <= MAX_SIDE and 0 < found.height <= MAX_SIDE):
            raise SnapshotError(f"{path}: not the snapshot of an image, or damaged")
        return found


@dataclass(frozen=True)
class Crop:
    """A rectangle of the image in pixels."""

    x: int
    y: int
    width: int
    height: int


def read_crop(text: str | None, picture: Picture) -> Crop:
    """The rectangle `X,Y,W,H`, or the whole image. Raises `DataError`."""
    if text is None:
        return Crop(0, 0, picture.width, picture.height)
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*){3}", text):
        raise DataError(f'crop: "{text}" is not X,Y,W,H in pixels, such as 100,200,640,480')
    x, y, width, height = (int(word) for word in text.split(","))
    if width < 1 or height < 1 or x + width > picture.width or y + height > picture.height:
        raise DataError(f"crop: {text} is not inside the image, which has {picture.width} x {picture.height} pixels")
    return Crop(x, y, width, height)


def output_size(crop: Crop, scale: float) -> tuple[int, int]:
    """Width and height of a crop at a scale. Raises `DataError` where they are no image's."""
    if not 0.0 < scale < math.inf:
        raise DataError(f"scale: {scale} is not above 0")
    width, height = max(1, round(crop.width * scale)), max(1, round(crop.height * scale))
    if max(width, height) > MAX_SIDE:
        raise DataError(f"scale: {width} x {height} pixels are more than a file can have; take a smaller one")
    return width, height


def rows(model: Model, picture: Picture, crop: Crop, scale: float = 1.0) -> Iterator[np.ndarray]:
    """The model's values, float32 [n, width, channels] at a time from the top.

    Where the picture is smaller than the crop, an output pixel is the mean over samples one image pixel apart or a little less,
    but not over more than `MAX_SAMPLES` x `MAX_SAMPLES`.
    """
    width, height = output_size(crop, scale)
    across, down = crop.width / width, crop.height / height  # image pixels for an output pixel
    n = min(MAX_SAMPLES, max(1, math.ceil(max(across, down) - 1e-9)))
    count = max(1, PIECE // (width * n * n))
    for first in range(0, height, count):
        lines = min(count, height - first)
        # A row alone may be too long
        columns = max(1, PIECE // (lines * n * n))
        parts = []
        for left in range(0, width, columns):
            many = min(columns, width - left)
            corner = (crop.x + left * across, crop.y + first * down)
            step = (across / n, down / n)
            x = positions(picture.width, picture.height, corner, many * n, lines * n, step)
            values = predict(model, x)
            parts.append(values.reshape(lines, n, many, n, picture.channels).mean(axis=(1, 3), dtype=np.float32))
        yield np.concatenate(parts, axis=1)


def write_picture(model: Model, picture: Picture, path: Path, *, crop: Crop | None = None, scale: float = 1.0) -> dict:
    """Write the whole image, or a crop, at a scale: PNG (sRGB), TIFF (as the image was) or EXR (linear).

    Returns:
        What was written: width, height and type of samples.

    Raises:
        OutputError: It cannot be written.
        DataError: The scale asks for the impossible.
    """
    crop = crop or Crop(0, 0, picture.width, picture.height)
    width, height = output_size(crop, scale)
    dtype = output_type(path, picture)
    blocks = (_stored(block, picture.space, dtype) for block in rows(model, picture, crop, scale))
    write_rows(path, blocks, width=width, height=height, channels=picture.channels, dtype=dtype)
    return {"width": width, "height": height, "samples": dtype.name}


def output_type(path: Path, picture: Picture) -> np.dtype:
    """The type of samples in a file. Raises `OutputError` for an unknown extension."""
    suffix = path.suffix.lower()
    floating = suffix == ".exr" or (suffix in (".tif", ".tiff") and picture.floating and picture.space == "linear")
    deep = picture.bits == 16 and not picture.floating
    dtype = np.dtype(np.float32 if floating else np.uint16 if deep else np.uint8)
    check_row_file(path, dtype)
    return dtype


def _stored(values: np.ndarray, space: Space, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return to_linear(values, space).astype(np.float32)
    largest = np.iinfo(dtype).max
    return (to_srgb(values, space) * np.float32(largest) + np.float32(0.5)).astype(dtype)


def write_preview(model: Model, picture: Picture, path: Path, *, zoom: tuple[int, int] | None = None) -> None:
    """Write a picture of the whole image, reduced to `PREVIEW_SIDE` at most; or views that zoom in on a pixel.

    Raises:
        OutputError: It cannot be written.
    """
    if zoom is not None:
        write_zoom(model, picture, path, zoom)
        return
    scale = min(1.0, PREVIEW_SIDE / max(picture.width, picture.height))
    write_picture(model, picture, path, scale=scale)


def write_zoom(model: Model, picture: Picture, path: Path, center: tuple[int, int]) -> dict:
    """Write views side by side: first the whole, then each `ZOOM_FACTOR` nearer to a pixel, to eight times its size.

    Returns:
        What was written: width, height and type of samples.

    Raises:
        DataError: The pixel is outside the image.
    """
    x, y = center
    if not (0 <= x < picture.width and 0 <= y < picture.height):
        raise DataError(f"zoom: {x},{y} is outside the image, which has {picture.width} x {picture.height} pixels")
    views = []
    side = min(picture.width, picture.height)
    while True:
        left = min(max(x - side // 2, 0), picture.width - side)
        top = min(max(y - side // 2, 0), picture.height - side)
        crop = Crop(left, top, side, side)
        view = np.concatenate(list(rows(model, picture, crop, ZOOM_SIDE / side)))
        views.append(_stored(view, picture.space, np.dtype(np.uint8)))
        if side <= ZOOM_SIDE // 8:
            break
        side = max(int(side / ZOOM_FACTOR), ZOOM_SIDE // 8)
    gap = np.full((ZOOM_SIDE, BORDER, picture.channels), 255, np.uint8)
    strip = np.concatenate([part for view in views for part in (view, gap)][:-1], axis=1)
    width, height = strip.shape[1], strip.shape[0]
    write_rows(path, [strip], width=width, height=height, channels=picture.channels, dtype=np.uint8)
    return {"width": width, "height": height, "samples": "uint8"}
