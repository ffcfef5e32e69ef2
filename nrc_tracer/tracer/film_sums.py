"""The sums of a film's samples, in blocks of 64 whose sums are added in order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import warp as wp

from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import DeviceError
from nrc_tracer.tracer.noise import relative_error

BLOCK = 64
"""Number of samples of a block. A block begins at a sample whose index is a multiple of it."""

wp.set_module_options({"enable_backward": False})


@wp.kernel(enable_backward=False)
def add_finished_block(
    base: int,
    sums: wp.array[wp.vec3d],
    squares: wp.array[wp.vec3d],
    block_sums: wp.array[wp.vec3d],
    block_squares: wp.array[wp.vec3d],
):
    """Add the block's sums of the pixel `base + tid` to those of the blocks before it, and set them to 0."""
    pixel = base + wp.tid()
    sums[pixel] = sums[pixel] + block_sums[pixel]
    squares[pixel] = squares[pixel] + block_squares[pixel]
    block_sums[pixel] = wp.vec3d()
    block_squares[pixel] = wp.vec3d()


@dataclass(frozen=True)
class BlockSums:
    """The sums of a block of samples in some rows of a film.

    Attributes:
        sums: Sum of the samples, float64 [rows, width, 3].
        squares: Sum of their squares, float64 [rows, width, 3].
        dropped: Number of dropped samples, int32 [rows, width].
        residuals: Sums of the residuals of each half of the samples and of their squares, float64 [2, 2, rows, width, 3]; None
            unless a cached image is corrected by them.
    """

    sums: np.ndarray
    squares: np.ndarray
    dropped: np.ndarray
    residuals: np.ndarray | None = None

    @classmethod
    def for_parts_like(cls, part: BlockSums, rows: int) -> BlockSums:
        """Room for `rows` rows of which `part` has some."""
        width = part.dropped.shape[1]
        residuals = None if part.residuals is None else np.empty((2, 2, rows, width, 3))
        return cls(np.empty((rows, width, 3)), np.empty((rows, width, 3)), np.empty((rows, width), np.int32), residuals)

    def assign_rows(self, rows: slice, part: BlockSums) -> None:
        """Put the sums of these rows in their place."""
        self.sums[rows], self.squares[rows], self.dropped[rows] = part.sums, part.squares, part.dropped
        if self.residuals is not None:
            self.residuals[:, :, rows] = part.residuals


def moments(sums: np.ndarray, squares: np.ndarray, dropped: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance of the samples of each pixel.

    Args:
        sums: Sum of the samples, float64 [height, width, 3].
        squares: Sum of their squares, float64 [height, width, 3].
        dropped: Number of dropped samples, int [height, width].
        samples: Samples per pixel, with those dropped.

    Returns:
        Mean and variance, float64 [height, width, 3] each.
    """
    count = _counts(dropped, samples)
    mean = sums / count
    spread = squares / count - mean**2
    return mean, np.maximum(spread, 0.0) * count / np.maximum(count - 1, 1)


def noise(mean: np.ndarray, variance: np.ndarray, dropped: np.ndarray, samples: int) -> float:
    """Estimated relative error of an image with these moments of its samples; infinity with fewer than two samples."""
    return relative_error(mean, variance / _counts(dropped, samples)) if samples > 1 else math.inf


def _counts(dropped: np.ndarray, samples: int) -> np.ndarray:
    """Number of samples of each pixel that were not dropped, at least 1, int [height, width, 1]."""
    return np.maximum(samples - dropped, 1)[:, :, None]


class FilmSums:
    """For each pixel, the sum of its samples, the sum of their squares and the number of dropped samples, on a device.

    Samples are summed in aligned blocks of 64, and the sums of the blocks are added in order. So a block can be summed anywhere,
    and the film has the same bits as if all its samples had been taken in one place.

    Args:
        width: Width [pixels].
        height: Height [pixels].
        launcher: Launches kernels on the device.

    Attributes:
        samples: Samples per pixel so far.
        arrays: Sums and sums of squares of the block that is not finished, `vec3d` [pixels], and the number of dropped samples of
            all blocks, int [pixels], for kernels.

    Raises:
        DeviceError: The device has no room for them.
    """

    def __init__(self, width: int, height: int, launcher: Launcher) -> None:
        self._shape, self._launcher = (height, width), launcher
        self.samples = 0
        pixels, device = width * height, launcher.device
        try:
            self._finished = tuple(wp.zeros(pixels, dtype=wp.vec3d, device=device) for _ in range(2))
            self.arrays = (
                wp.zeros(pixels, dtype=wp.vec3d, device=device),
                wp.zeros(pixels, dtype=wp.vec3d, device=device),
                wp.zeros(pixels, dtype=int, device=device),
            )
        except (MemoryError, RuntimeError) as error:
            raise DeviceError(f"{device} cannot hold a film of {width} x {height} pixels") from error

    def clear(self) -> None:
        """Begin a new image without samples."""
        self.samples = 0
        for array in (*self._finished, *self.arrays):
            array.zero_()

    def spans(self, count: int, longest: int) -> Iterator[tuple[int, int]]:
        """Divide the next `count` samples at the ends of blocks, and into spans of at most `longest` samples.

        Yields:
            Index of the first sample, and number of samples. They must be in `arrays` before the next span is taken.
        """
        end = self.samples + count
        while self.samples < end:
            span = min(end - self.samples, longest, BLOCK - self.samples % BLOCK)
            yield self.samples, span
            self._advance(span)

    def add_block(self, block: BlockSums, samples: int) -> None:
        """Add the next block, which was summed elsewhere.

        Args:
            block: Its sums in all rows of the film.
            samples: Number of its samples; below 64 only for the last block.

        Raises:
            ValueError: The block before it is not finished, or the number of samples is out of range.
        """
        if self.samples % BLOCK or not 1 <= samples <= BLOCK:
            raise ValueError(f"a block of {samples} samples cannot follow {self.samples} samples")
        dropped = self.dropped() + block.dropped
        for array, values in zip(self.arrays, (block.sums, block.squares, dropped), strict=True):
            _assign(array, values)
        self._advance(samples)

    def _advance(self, samples: int) -> None:
        """Count samples that have been added to `arrays`."""
        self.samples += samples
        if self.samples % BLOCK == 0:
            pixels = self._shape[0] * self._shape[1]
            arrays = [*self._finished, *self.arrays[:2]]
            self._launcher.run(add_finished_block, pixels, lambda base: [base, *arrays])

    def contents(self) -> dict[str, np.ndarray]:
        """All sums.

        Returns:
            `sums` and `squares`, float64 [height, width, 3], of the finished blocks; `block_sums` and `block_squares`, the same
            of the block that is not finished; and `dropped`, int32 [height, width], of all samples.
        """
        names = ("sums", "squares", "block_sums", "block_squares")
        arrays = (*self._finished, *self.arrays[:2])
        found = {name: array.numpy().reshape(*self._shape, 3) for name, array in zip(names, arrays, strict=True)}
        return {**found, "dropped": self.dropped()}

    def assign(
        self,
        samples: int,
        *,
        sums: np.ndarray,
        squares: np.ndarray,
        block_sums: np.ndarray,
        block_squares: np.ndarray,
        dropped: np.ndarray,
    ) -> None:
        """Continue from `samples` samples per pixel whose sums `contents` returned."""
        values = (sums, squares, block_sums, block_squares, dropped)
        for array, value in zip((*self._finished, *self.arrays), values, strict=True):
            _assign(array, value)
        self.samples = samples

    def dropped(self) -> np.ndarray:
        """Dropped samples of each pixel, int32 [height, width]."""
        return self.arrays[2].numpy().reshape(self._shape)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and unbiased variance of the samples of each pixel, float64 [height, width, 3] each."""
        contents = self.contents()
        sums, squares = (contents[name] + contents[f"block_{name}"] for name in ("sums", "squares"))
        return moments(sums, squares, contents["dropped"], self.samples)

    def noise(self) -> float:
        """Estimated relative error of the image, as `Renderer.noise` describes it."""
        return noise(*self.moments(), self.dropped(), self.samples) if self.samples > 1 else math.inf


def _assign(array: wp.array, values: np.ndarray) -> None:
    array.assign(values.reshape(-1, 3) if values.ndim == 3 else values.reshape(-1))
