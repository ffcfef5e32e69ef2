"""How far an image is from a reference. All sums in float64, over all pixels and channels."""

from __future__ import annotations

import numpy as np


def mse(image: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean squared error of two arrays of the same shape."""
    x, r = _pair(image, reference)
    return float(np.mean(np.square(x - r)))


def rel_mse(image: np.ndarray, reference: np.ndarray) -> float:
    """Return mean((x - r)^2 / (r^2 + 0.01 mean(r)^2)): dark regions count as much as bright ones.

    Source: Rousselle, Knaus, Zwicker, "Adaptive Sampling and Reconstruction using Greedy Error Minimization" (2011),
    with the constant in the denominator tied to the reference's mean so that the value does not depend on exposure.
    An all-black reference gives 0 for an all-black image and infinity for any other.
    """
    x, r = _pair(image, reference)
    squared = np.square(x - r)
    floor = 0.01 * np.mean(r) ** 2
    if floor == 0.0 and not np.any(r):
        return 0.0 if not np.any(squared) else float("inf")
    return float(np.mean(squared / (np.square(r) + floor)))


def psnr(image: np.ndarray, reference: np.ndarray, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio [dB] for values whose largest is `peak`; infinity if the two are equal."""
    error = mse(image, reference)
    return float("inf") if error == 0.0 else float(10.0 * np.log10(peak * peak / error))


def _pair(image: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, r = np.asarray(image, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if x.shape != r.shape or x.size == 0:
        raise ValueError(f"images of shapes {x.shape} and {r.shape} cannot be compared")
    return x, r
