"""Images without values below 0, and with the light that they had before."""

from __future__ import annotations

import numpy as np


def without_negatives(image: np.ndarray) -> np.ndarray:
    """Raise the negative values of an image to 0, and take as much from the values near them.

    Setting them to 0 alone would make the image brighter. What they lack is taken from the pixels of the smallest block of 2 x 2,
    4 x 4, ... that has enough, in proportion to their values. So the sums over all larger blocks stay as they are, channel by
    channel. A channel whose sum over the whole image is negative becomes 0.

    Args:
        image: Values, float64 [height, width, channels].

    Returns:
        The values; those of blocks without negative ones are unchanged. The image itself, if there are none at all.
    """
    if not np.any(image < 0.0):
        return image
    height, width = image.shape[:2]
    positive = np.maximum(image, 0.0)
    if height == width == 1:
        return positive
    above = _block_sums(positive)
    wanted = without_negatives(_block_sums(image))
    factors = np.divide(wanted, above, out=np.ones_like(wanted), where=above > wanted)
    return positive * np.repeat(np.repeat(factors, 2, axis=0)[:height], 2, axis=1)[:, :width]


def _block_sums(image: np.ndarray) -> np.ndarray:
    """Sums over blocks of 2 x 2 pixels, smaller ones at odd ends."""
    rows = np.add.reduceat(image, np.arange(0, image.shape[0], 2), axis=0)
    return np.add.reduceat(rows, np.arange(0, image.shape[1], 2), axis=1)
