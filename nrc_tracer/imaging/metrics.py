"""Error metrics of an image against a reference. All sums are in float64, over all pixels and channels.

Where a function takes `other`, this is a second reference of the same scene with independent random numbers. Squared errors are
then the products (x - r1)(x - r2), in which the noise of the two references cancels on average. Without it the reference counts
as exact, and its noise as an error of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrc_tracer.errors import NrcError, one_line

BLOCK = 16
"""Default side of the blocks of `block_error` [pixels]."""


@dataclass(frozen=True)
class BiasVariance:
    """The two parts of a relative squared error, from `bias_and_variance`.

    Attributes:
        squared_bias: Estimate of the squared bias, which more samples do not reduce. Noise can make it negative.
        squared_bias_error: Standard error of `squared_bias`.
        variance: Variance of a single image.
    """

    squared_bias: float
    squared_bias_error: float
    variance: float


def mse(image: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean squared error of two arrays of the same shape."""
    x, r = _pair(image, reference)
    return float(np.mean(np.square(x - r)))


def rel_mse(
    image: np.ndarray,
    reference: np.ndarray,
    other: np.ndarray | None = None,
    *,
    trim: float = 0.0,
    level: np.ndarray | None = None,
) -> float:
    """Return mean((x - r)^2 / (r^2 + 0.01 mean(r)^2)): dark regions count as much as bright ones.

    Source: Rousselle, Knaus, Zwicker, "Adaptive Sampling and Reconstruction using Greedy Error Minimization" (2011),
    with the constant in the denominator tied to the reference's mean so that the value does not depend on exposure.
    An all-black reference gives 0 for an all-black image and infinity for any other.

    Args:
        image: Shape [height, width, channels], or any other if `trim` is 0.
        reference: The same shape.
        other: A second, independent reference. Noise can then make the value negative.
        trim: Fraction of the pixels to leave out, those with the largest errors: 0.001 for the worst thousandth.
        level: Replaces r in the denominator, which is the mean of the references by default. If the references are noisy it
            should be smooth: otherwise a pixel that is too dark by chance has both a large error and a large weight.
    """
    errors = relative_squared_errors(image, reference, other, level=level)
    if trim > 0.0:
        errors = np.sort(errors.mean(axis=-1), axis=None)
        errors = errors[: max(1, errors.size - int(np.ceil(trim * errors.size)))]
    return float(np.mean(errors))


def relative_squared_errors(
    image: np.ndarray, reference: np.ndarray, other: np.ndarray | None = None, *, level: np.ndarray | None = None
) -> np.ndarray:
    """Return the errors that `rel_mse` averages, in the shape of the images, float64."""
    x, r = _pair(image, reference)
    _, second = _pair(image, reference if other is None else other)
    return _relative((x - r) * (x - second), (r + second) / 2.0 if level is None else _pair(image, level)[1])


def relative_errors(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return (x - r) / sqrt(r^2 + 0.01 mean(r)^2), signed, in the shape of the images, float64."""
    x, r = _pair(image, reference)
    squared = _relative(np.square(x - r), r)
    return np.copysign(np.sqrt(squared), x - r)


def block_error(
    image: np.ndarray, reference: np.ndarray, other: np.ndarray | None = None, *, size: int = BLOCK
) -> float:
    """Return the root mean square relative error of block means, which shows errors that the noise of single pixels hides.

    The squared error of a block with the means X and R is (X - R)^2 / (R^2 + 0.01 mean(R)^2). Blocks at the edge of the image
    are weighted by their number of pixels.

    Args:
        image: Shape [height, width, channels].
        reference: The same shape.
        other: A second, independent reference. A mean square that noise makes negative counts as 0.
        size: Side of a block [pixels].
    """
    x, r = _pair(image, reference)
    _, second = _pair(image, reference if other is None else other)
    weights = block_sums(np.ones((*x.shape[:2], 1)), size)
    x, r, second = (block_sums(values, size) / weights for values in (x, r, second))
    squared = np.average(_relative((x - r) * (x - second), (r + second) / 2.0).mean(axis=-1), weights=weights[..., 0])
    return float(np.sqrt(max(squared, 0.0)))


def block_sums(values: np.ndarray, size: int = BLOCK) -> np.ndarray:
    """Sum [height, width, channels] over blocks of `size` x `size` pixels: shape [rows, columns, channels]."""
    rows, columns = np.arange(0, values.shape[0], size), np.arange(0, values.shape[1], size)
    return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)


def bias_and_variance(images: np.ndarray, reference: np.ndarray, other: np.ndarray | None = None) -> BiasVariance:
    """Separate bias from variance, given images of the same scene with different seeds.

    With errors a_k = x_k - r1 and b_k = x_k - r2 of image k, the squared bias is the mean of a_k b_l over all k != l: the noise
    of two images, or of an image and a reference, is independent and cancels. The variance is the sum over k of
    (x_k - mean)^2 / (K - 1). Both are divided by r^2 + 0.01 mean(r)^2 as in `rel_mse`. Their sum is exactly the mean of the
    `rel_mse` of all images.

    The standard error of the squared bias is the larger of two estimates: from the spread of blocks of 8 x 8 pixels, and, with
    at least three images, from leaving out each image in turn (jackknife), which includes errors that a whole image shares.

    Args:
        images: Shape [K, height, width, channels], K >= 2.
        reference: Shape [height, width, channels].
        other: A second, independent reference. Without it the squared bias includes the variance of the reference.

    Raises:
        ValueError: There are fewer than two images, or the shapes differ.
    """
    count = len(images)
    if count < 2:
        raise ValueError(f"bias and variance need at least two images, not {count}")
    pairs = [_pair(image, reference) for image in images]
    r = pairs[0][1]
    _, second = _pair(images[0], reference if other is None else other)
    level = (r + second) / 2.0
    mean = sum(x for x, _ in pairs) / count
    products = sum((x - r) * (x - second) for x, _ in pairs)
    variance = sum((np.square(x - mean) for x, _ in pairs), start=np.zeros_like(r)) / (count - 1)

    # All products except those of an image with itself
    crossed = (count * mean - count * r) * (count * mean - count * second) - products
    squares = _relative(crossed / (count * (count - 1)), level)
    error = _spread_error(squares)
    if count > 2:
        left_out = []
        for x, _ in pairs:
            rest = count * mean - x - (count - 1) * r
            rest_second = count * mean - x - (count - 1) * second
            crossed = rest * rest_second - (products - (x - r) * (x - second))
            left_out.append(np.mean(_relative(crossed / ((count - 1) * (count - 2)), level)))
        error = max(error, float(np.sqrt((count - 1) * np.var(left_out))))
    return BiasVariance(float(np.mean(squares)), error, float(np.mean(_relative(variance, level))))


def psnr(image: np.ndarray, reference: np.ndarray, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio [dB] for values up to `peak`; infinity if the two images are equal."""
    return decibels(mse(image, reference), peak)


def decibels(mean_squared_error: float, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio [dB] of a mean squared error; infinity for an error of 0."""
    return float("inf") if mean_squared_error == 0.0 else float(10.0 * np.log10(peak * peak / mean_squared_error))


def ssim(image: np.ndarray, reference: np.ndarray) -> float:
    """Return the structural similarity of two images with values in [0, 1], 1 if they are equal.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity"
    (2004), with its Gaussian window of 1.5 pixels, computed by scikit-image; the mean over the channels.

    Args:
        image: Display values, shape [height, width, channels]. The result is NaN if a side is shorter than 11 pixels.
        reference: The same shape.

    Raises:
        NrcError: scikit-image is not installed.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise _missing("scikit-image", error) from error
    x, r = _pair(image, reference)
    if min(x.shape[:2]) < 11:
        return float("nan")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(x, r, channel_axis=-1, data_range=1.0, **options))


def flip(image: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean HDR-FLIP error of two images, from 0 (equal) to 1: the visible difference when flipping between them.

    Source: Andersson, Nilsson, Shirley, Akenine-Moller, "Visualizing Errors in Rendered High Dynamic Range Images" (2021),
    computed by its authors' package at 67 pixels per degree, with the exposures that it chooses for the reference.

    Args:
        image: Linear Rec. 709, shape [height, width, 3]; negative values count as 0.
        reference: The same shape.

    Raises:
        NrcError: flip-evaluator is not installed.
    """
    try:
        import flip_evaluator
    except ImportError as error:
        raise _missing("flip-evaluator", error) from error
    x, r = (np.ascontiguousarray(np.maximum(values, 0.0), np.float32) for values in _pair(image, reference))
    if not r.any():  # the package cannot choose exposures for a black reference
        return 0.0 if not x.any() else 1.0
    _, mean, _ = flip_evaluator.evaluate(r, x, "HDR", applyMagma=False)
    return float(mean)


def check_metrics() -> None:
    """Check, before a long comparison, that the packages behind `flip` and `ssim` are installed. Raises `NrcError`."""
    for package, module in (("flip-evaluator", "flip_evaluator"), ("scikit-image", "skimage.metrics")):
        try:
            __import__(module)
        except (ImportError, OSError) as error:
            raise _missing(package, error) from error


def _missing(package: str, error: BaseException) -> NrcError:
    return NrcError(f"{package} cannot be loaded ({one_line(error)}); pip install 'nrc-tracer[report]' installs it")


def _relative(squared: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Divide squared errors by level^2 + 0.01 mean(level)^2; 0 / 0 is 0."""
    denominator = np.square(level) + 0.01 * np.mean(level) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((squared == 0.0) & (denominator == 0.0), 0.0, squared / denominator)


def _spread_error(values: np.ndarray, size: int = 8) -> float:
    """Estimate the standard error of the mean of [height, width, channels] from the spread between blocks of pixels."""
    weights = block_sums(np.ones((*values.shape[:2], 1)), size)
    sums = block_sums(values, size).mean(axis=-1, keepdims=True)
    if sums.size < 2:
        return float("inf")
    # The standard error of a ratio of sums over blocks, as blocks at the edge are smaller
    rest = sums - weights * (sums.sum() / weights.sum())
    return float(np.sqrt(sums.size / (sums.size - 1) * np.sum(np.square(rest))) / weights.sum())


def _pair(image: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, r = np.asarray(image, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if x.shape != r.shape or x.size == 0:
        raise ValueError(f"images of shapes {x.shape} and {r.shape} cannot be compared")
    return x, r
