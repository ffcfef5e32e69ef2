"""Pictures of a report: tone-mapped images, maps of error and bias with one scale for all, and close-ups."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from nrc_tracer.imaging import block_sums, eight_bits, relative_errors

ERROR_RANGE = (0.01, 3.0)
"""Relative errors at the ends of the error maps' logarithmic scale."""
BIAS_RANGE = 0.5
"""Signed relative error at the ends of the bias maps' linear scale."""
REGION_RANGE = 0.1
"""Signed relative error of a region at the ends of its linear colour scale."""
ERROR_COLORS, BIAS_COLORS = "inferno", "RdBu_r"


@dataclass(frozen=True)
class Crop:
    """A square part of an image that is worth a close look.

    Attributes:
        name: Reason to look at it.
        x, y: Upper left corner [pixels].
        side: Width and height [pixels].
    """

    name: str
    x: int
    y: int
    side: int


def encode_png(encoded: np.ndarray) -> bytes:
    """Return a PNG file of display values in [0, 1], shape [height, width, 3]."""
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.fromarray(eight_bits(encoded)).save(file, format="PNG", optimize=True)
    return file.getvalue()


def data_uri(png: bytes) -> str:
    """Return a PNG file as a `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def png_width(png: bytes) -> int:
    """Return the width of a PNG file [pixels]."""
    return int.from_bytes(png[16:20], "big")


def error_map(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the relative error of each pixel in colours, on the logarithmic scale `ERROR_RANGE`; float [height, width, 3]."""
    size = np.sqrt(np.mean(np.square(relative_errors(image, reference)), axis=2))
    low, high = np.log(ERROR_RANGE)
    return _colors(ERROR_COLORS, (np.log(np.maximum(size, ERROR_RANGE[0] / 10.0)) - low) / (high - low))


def bias_map(images: list[np.ndarray], reference: np.ndarray) -> np.ndarray:
    """Return the signed relative error of the images' mean in colours, averaged over 4 x 4 pixels: red is too bright."""
    mean = sum((image.astype(np.float64) for image in images), np.zeros(reference.shape)) / len(images)
    error = relative_errors(mean, reference).mean(axis=2, keepdims=True)
    blocks = block_sums(error, 4) / block_sums(np.ones_like(error), 4)
    spread = np.repeat(np.repeat(blocks, 4, axis=0), 4, axis=1)[: error.shape[0], : error.shape[1], 0]
    return _colors(BIAS_COLORS, spread / (2.0 * BIAS_RANGE) + 0.5)


def region_color(bias: float) -> str:
    """Return the colour of a region's relative error, on the linear scale `REGION_RANGE`, as `#rrggbb`."""
    red, green, blue = eight_bits(_colors(BIAS_COLORS, np.array([bias / (2.0 * REGION_RANGE) + 0.5])))[0].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _colors(name: str, values: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps[name](np.clip(values, 0.0, 1.0))[..., :3]


def choose_crops(reference: np.ndarray, images: list[np.ndarray], names: list[str], *, count: int = 3) -> list[Crop]:
    """Choose for each image the place where it differs most from the reference; the places do not overlap.

    Args:
        reference: Linear reference, shape [height, width, 3].
        images: Linear images of the settings, in the same shape.
        names: Names of the settings.
        count: Largest number of crops.
    """
    height, width = reference.shape[:2]
    side = max(8, min(height, width) // 4)
    if side >= min(height, width):
        return []
    step = max(1, side // 4)
    corners = [(x, y) for y in range(0, height - side + 1, step) for x in range(0, width - side + 1, step)]
    crops: list[Crop] = []
    for name, image in list(zip(names, images, strict=True))[:count]:
        # Blocks are averaged first, so that noise alone does not decide
        coarse = max(2, side // 8)
        error = relative_errors(*(block_sums(values, coarse) for values in (image.astype(np.float64), reference)))
        error = np.minimum(np.mean(np.square(error), axis=2), 1.0)
        error = np.repeat(np.repeat(error, coarse, axis=0), coarse, axis=1)[:height, :width]
        free = [(x, y) for x, y in corners if all(abs(x - c.x) >= side or abs(y - c.y) >= side for c in crops)]
        if not free:
            break
        x, y = max(free, key=lambda corner: error[corner[1] : corner[1] + side, corner[0] : corner[0] + side].sum())
        crops.append(Crop(f"largest error of {name}", x, y, side))
    return crops
