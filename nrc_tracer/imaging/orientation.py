"""The orientation in an image's EXIF data or TIFF tags: how its stored pixels are turned and mirrored when they are shown."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import PIL.Image

TAG = 0x0112
"""Number of the tag in EXIF and TIFF."""
UPRIGHT = 1
"""The orientation of an image that is shown as it is stored."""


def orientation_of(image: PIL.Image.Image) -> int:
    """The orientation of an image that Pillow has opened but not loaded, from 1 to 8; 1 if it has none.

    The EXIF data of a PNG are found only before its pixels, as one would have to decode the pixels to look behind them.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return UPRIGHT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow about damaged EXIF data
            value = image.getexif().get(TAG, UPRIGHT)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError):  # damaged EXIF data
        return UPRIGHT
    return value if value in range(1, 9) else UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Whether the width of the stored pixels is the height of the shown ones."""
    return orientation >= 5


def shown(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A view of stored pixels, [height, width, ...], as they are shown."""
    down, right = (slice(None, None, -1), slice(None))
    flips = {2: (right, down), 3: (down, down), 4: (down, right), 6: (down, right), 7: (down, down), 8: (right, down)}
    view = pixels[flips.get(orientation, (right, right))]
    return view.swapaxes(0, 1) if swaps_sides(orientation) else view


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `shown`: a view of shown pixels, [height, width, ...], as they are stored."""
    inverse = {6: 8, 8: 6}
    return shown(pixels, inverse.get(orientation, orientation))
