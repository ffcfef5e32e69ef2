"""Tests whether two noisy images have the same expectation; differences are measured in each pixel's standard error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

TILE = 32
"""Side of the tiles whose means are compared, in pixels."""


@dataclass(frozen=True)
class Estimate:
    """A rendered image with its noise.

    Attributes:
        mean: Mean of the samples, shape [height, width, 3].
        variance: Variance of one sample, same shape.
        samples: Independent samples per pixel.
    """

    mean: np.ndarray
    variance: np.ndarray
    samples: int

    @property
    def error2(self) -> np.ndarray:
        """Squared standard error of the mean."""
        return self.variance / self.samples


@dataclass(frozen=True)
class Agreement:
    """The differences between two estimates.

    Attributes:
        relative_mean_error: Standard error of the difference of the image means, relative to the mean.
        relative_pixel_error: Relative standard error of the median lit pixel.
        inside: Fraction of pixels and channels inside the Sidak-corrected 1 % band.
        mean_z2: Mean squared difference in units of its standard error; 1 if the only difference is noise.
        z_mean: Difference of the image means in standard errors, for each channel.
        worst_tile: The largest difference of a tile's mean, in standard errors.
        tile_band: Largest accepted `worst_tile`, by Sidak's correction at 1 %.
        relative_difference: Difference of the image means, relative.
    """

    relative_mean_error: float
    relative_pixel_error: float
    inside: float
    mean_z2: float
    z_mean: np.ndarray
    worst_tile: float
    tile_band: float
    relative_difference: np.ndarray

    def failures(self, *, known_mean: float = 0.0015, known_pixel: float = 0.03) -> list[str]:
        """Reasons to doubt that the images are equal, or that the test could detect a difference; empty if there are none.

        Args:
            known_mean: Largest accepted relative standard error of the image mean.
            known_pixel: Largest accepted relative standard error of the median lit pixel.
        """
        checks = {
            f"the image mean is only known to {self.relative_mean_error:.2%}": self.relative_mean_error <= known_mean,
            f"the median pixel is only known to {self.relative_pixel_error:.1%}": self.relative_pixel_error
            <= known_pixel,
            f"{self.inside:.3%} of the pixels are inside the band": self.inside >= 0.9975,
            f"mean z^2 is {self.mean_z2:.3f}": 0.9 <= self.mean_z2 <= 1.1,
            f"the image means differ by {self.z_mean} standard errors": bool(np.all(np.abs(self.z_mean) < 3.0)),
            f"the mean of a tile differs by {self.worst_tile:.1f} standard errors": self.worst_tile <= self.tile_band,
        }
        return [text for text, passed in checks.items() if not passed]


def sidak_band(count: int, significance: float = 0.01) -> float:
    """The threshold that the largest |z| of `count` standard normal numbers exceeds with probability `significance`."""
    return float(norm.isf(0.5 * (1.0 - (1.0 - significance) ** (1.0 / count))))


def compare(a: Estimate, b: Estimate, *, mean_over: np.ndarray | None = None) -> Agreement:
    """Compare two estimates of the same image.

    Args:
        a: One estimate.
        b: The other estimate.
        mean_over: Pixels of the image mean, shape [height, width]; all by default. It excludes a few pixels on the edge of a
            bright light that would dominate the mean.
    """
    counted = np.ones(a.mean.shape[:2], bool) if mean_over is None else mean_over
    difference, error2 = a.mean - b.mean, a.error2 + b.error2
    level = 0.5 * (a.mean + b.mean)
    # Where neither image has noise (a visible light, a constant background), only rounding may differ
    rounding2 = (2e-5 * np.abs(level)) ** 2
    z = difference / np.sqrt(np.maximum(error2 + rounding2, 1e-30))
    noisy = error2 > rounding2
    lit = noisy & (level > 1e-3 * level.mean())

    channel_mean = level[counted].mean(axis=0)
    mean_error = np.sqrt((error2 + rounding2)[counted].sum(axis=0)) / counted.sum()
    height, width = (n // TILE * TILE for n in z.shape[:2])
    tiles = [
        x[:height, :width].reshape(height // TILE, TILE, width // TILE, TILE, 3).sum(axis=(1, 3))
        for x in (difference, error2 + rounding2)
    ]
    tile_z = tiles[0] / np.sqrt(np.maximum(tiles[1], 1e-30))
    return Agreement(
        relative_mean_error=float((mean_error / np.maximum(channel_mean, 1e-12)).max()),
        relative_pixel_error=float(np.median(np.sqrt(error2[lit]) / level[lit])) if lit.any() else 0.0,
        inside=float((np.abs(z) < sidak_band(z.size)).mean()),
        mean_z2=float((z[noisy] ** 2).mean()) if noisy.any() else 1.0,
        z_mean=difference[counted].mean(axis=0) / mean_error,
        worst_tile=float(np.abs(tile_z).max()),
        tile_band=sidak_band(tile_z.size),
        relative_difference=difference[counted].mean(axis=0) / np.maximum(channel_mean, 1e-12),
    )


def assert_agreement(
    look: Callable[[float, int], Agreement],
    looks: Sequence[float],
    *,
    known_mean: float = 0.0015,
    known_pixel: float = 0.03,
) -> None:
    """Assert that two images are equal; compare again with more samples if a comparison fails.

    One or two in a hundred comparisons of equal images fail by chance. Independent further samples distinguish chance from a
    difference, which becomes clearer with more samples.

    Args:
        look: Renders both images and compares them, given the number of samples as a multiple of the full number, and the index
            of the comparison; comparisons must not share random numbers.
        looks: The multiple for each comparison.
        known_mean: Largest accepted relative standard error of the image mean with all samples.
        known_pixel: Largest accepted relative standard error of the median lit pixel with all samples.
    """
    for number, share in enumerate(looks):
        agreement = look(share, number)
        # Standard errors fall with the square root of the number of samples
        wider = max(1.0, share**-0.5)
        failures = agreement.failures(known_mean=wider * known_mean, known_pixel=wider * known_pixel)
        if not failures:
            return
        print(f"look {number + 1}, {share} of the samples: {'; '.join(failures)}")
    assert not failures, agreement
