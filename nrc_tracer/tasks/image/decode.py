"""Images from a fitted model: all of the image or a crop, at any scale, a few rows at a time, and strips of zooming views."""

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
"""Most samples averaged per output pixel and axis, where the output is smaller than the image."""
PREVIEW_SIDE = 1024
"""Longer side of a preview, in pixels."""
ZOOM_SIDE, ZOOM_FACTOR = 320, 4.0
"""Side of each view of a zoom strip in pixels, and the magnification from one view to the next."""
BORDER = 4
"""Width of the gap between the views of a zoom strip, in pixels."""


@dataclass(frozen=True)
class ImageInfo:
    """What a snapshot records about its image.

    Attributes:
        width, height: Size of the image in pixels.
        channels: Number of channels, 1 or 3.
        space: Colour space in which the model was trained.
        bits: Bits per sample of the image file.
        floating: Whether the image has linear floating-point samples.
    """

    width: int
    height: int
    channels: int
    space: Space
    bits: int
    floating: bool

    @classmethod
    def of(cls, source: Source, space: Space) -> ImageInfo:
        """The facts of an image in training."""
        bits = 8 * source.dtype.itemsize
        return cls(source.width, source.height, source.channels, space, bits, source.linear)

    @classmethod
    def read(cls, path: Path, metadata: Mapping[str, Any], model: Model) -> ImageInfo:
        """Read the facts from a snapshot's metadata. Raises `SnapshotError` if they do not describe an image."""
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
    """A rectangle of the image, in pixels."""

    x: int
    y: int
    width: int
    height: int


def read_crop(text: str | None, info: ImageInfo) -> Crop:
    """Parse the rectangle `X,Y,W,H`; `None` is the whole image. Raises `DataError`."""
    if text is None:
        return Crop(0, 0, info.width, info.height)
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*){3}", text):
        raise DataError(f'crop: "{text}" is not X,Y,W,H in pixels, such as 100,200,640,480')
    x, y, width, height = (int(word) for word in text.split(","))
    return check_crop(Crop(x, y, width, height), info)


def check_crop(crop: Crop, info: ImageInfo) -> Crop:
    """Return a crop that lies inside the image. Raises `DataError` for any other."""
    inside = crop.x >= 0 and crop.y >= 0 and crop.x + crop.width <= info.width and crop.y + crop.height <= info.height
    if not inside or crop.width < 1 or crop.height < 1:
        rectangle = f"{crop.x},{crop.y},{crop.width},{crop.height}"
        raise DataError(f"crop: {rectangle} is not inside the image, which has {info.width} x {info.height} pixels")
    return crop


def output_size(crop: Crop, scale: float) -> tuple[int, int]:
    """Width and height in pixels of a crop at a scale. Raises `DataError` if the scale or the size is impossible."""
    if not 0.0 < scale < math.inf:
        raise DataError(f"scale: must be above 0, not {scale}")
    width, height = max(1, round(crop.width * scale)), max(1, round(crop.height * scale))
    if max(width, height) > MAX_SIDE:
        raise DataError(
            f"scale: {width} x {height} pixels are more than an image file can have; choose a smaller scale"
        )
    return width, height


def rows(model: Model, info: ImageInfo, crop: Crop, scale: float = 1.0) -> Iterator[np.ndarray]:
    """Yield the model's colours from the top row down, float32 [n, width, channels] at a time.

    Where the output is smaller than the crop, an output pixel is the mean over samples at most one image pixel apart, but never
    over more than `MAX_SAMPLES` x `MAX_SAMPLES` samples.
    """
    width, height = output_size(crop, scale)
    across, down = crop.width / width, crop.height / height  # image pixels per output pixel
    n = min(MAX_SAMPLES, max(1, math.ceil(max(across, down) - 1e-9)))
    count = max(1, PIECE // (width * n * n))
    for first in range(0, height, count):
        lines = min(count, height - first)
        # A single row may exceed the batch, so split it into columns
        columns = max(1, PIECE // (lines * n * n))
        parts = []
        for left in range(0, width, columns):
            many = min(columns, width - left)
            corner = (crop.x + left * across, crop.y + first * down)
            step = (across / n, down / n)
            x = positions(info.width, info.height, corner, many * n, lines * n, step)
            values = predict(model, x)
            parts.append(values.reshape(lines, n, many, n, info.channels).mean(axis=(1, 3), dtype=np.float32))
        yield np.concatenate(parts, axis=1)


def write_picture(model: Model, info: ImageInfo, path: Path, *, crop: Crop | None = None, scale: float = 1.0) -> dict:
    """Write the whole image, or a crop, at a scale: PNG (sRGB), TIFF (the image's own samples) or EXR (linear).

    Returns:
        What was written: width, height and sample type.

    Raises:
        OutputError: The file cannot be written.
        DataError: The scale is impossible.
    """
    crop = crop or Crop(0, 0, info.width, info.height)
    width, height = output_size(crop, scale)
    dtype = output_type(path, info)
    blocks = (_stored(block, info.space, dtype) for block in rows(model, info, crop, scale))
    write_rows(path, blocks, width=width, height=height, channels=info.channels, dtype=dtype)
    return {"width": width, "height": height, "samples": dtype.name}


def output_type(path: Path, info: ImageInfo) -> np.dtype:
    """The sample type of an output file. Raises `OutputError` for an unknown extension."""
    suffix = path.suffix.lower()
    floating = suffix == ".exr" or (suffix in (".tif", ".tiff") and info.floating and info.space == "linear")
    deep = info.bits == 16 and not info.floating
    dtype = np.dtype(np.float32 if floating else np.uint16 if deep else np.uint8)
    check_row_file(path, dtype)
    return dtype


def _stored(values: np.ndarray, space: Space, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return to_linear(values, space).astype(np.float32)
    largest = np.iinfo(dtype).max
    return (to_srgb(values, space) * np.float32(largest) + np.float32(0.5)).astype(dtype)


def write_preview(model: Model, info: ImageInfo, path: Path, *, zoom: tuple[int, int] | None = None) -> None:
    """Write the whole image, reduced to at most `PREVIEW_SIDE` pixels a side, or a strip of views that zoom in on a pixel.

    Raises:
        OutputError: The file cannot be written.
    """
    if zoom is not None:
        write_zoom(model, info, path, zoom)
        return
    scale = min(1.0, PREVIEW_SIDE / max(info.width, info.height))
    write_picture(model, info, path, scale=scale)


def write_zoom(model: Model, info: ImageInfo, path: Path, center: tuple[int, int]) -> dict:
    """Write views side by side: first the whole image, then views magnified by `ZOOM_FACTOR` each, up to 8 times.

    Returns:
        What was written: width, height and sample type.

    Raises:
        DataError: The pixel is outside the image.
    """
    x, y = center
    if not (0 <= x < info.width and 0 <= y < info.height):
        raise DataError(f"zoom: {x},{y} is outside the image, which has {info.width} x {info.height} pixels")
    views = []
    side = min(info.width, info.height)
    while True:
        left = min(max(x - side // 2, 0), info.width - side)
        top = min(max(y - side // 2, 0), info.height - side)
        crop = Crop(left, top, side, side)
        view = np.concatenate(list(rows(model, info, crop, ZOOM_SIDE / side)))
        views.append(_stored(view, info.space, np.dtype(np.uint8)))
        if side <= ZOOM_SIDE // 8:
            break
        side = max(int(side / ZOOM_FACTOR), ZOOM_SIDE // 8)
    gap = np.full((ZOOM_SIDE, BORDER, info.channels), 255, np.uint8)
    strip = np.concatenate([part for view in views for part in (view, gap)][:-1], axis=1)
    width, height = strip.shape[1], strip.shape[0]
    write_rows(path, [strip], width=width, height=height, channels=info.channels, dtype=np.uint8)
    return {"width": width, "height": height, "samples": "uint8"}
