"""Sums over the samples of an image."""

from __future__ import annotations

import numpy as np
import warp as wp

from nrc_tracer.errors import DeviceError


class FilmSums:
    """For each pixel, the sum of its samples, the sum of their squares and the number of dropped samples, on a device.

    Args:
        width: Width [pixels].
        height: Height [pixels].
        device: Warp device.

    Attributes:
        arrays: Sums and sums of squares, `vec3d` [pixels], and dropped samples, int [pixels], for kernels.

    Raises:
        DeviceError: The device has no room for them.
    """

    def __init__(self, width: int, height: int, device: str) -> None:
        self._shape = (height, width)
        pixels = width * height
        try:
            self.arrays = (
                wp.zeros(pixels, dtype=wp.vec3d, device=device),
                wp.zeros(pixels, dtype=wp.vec3d, device=device),
                wp.zeros(pixels, dtype=int, device=device),
            )
        except (MemoryError, RuntimeError) as error:
            raise DeviceError(f"{device} cannot hold a film of {width} x {height} pixels") from error

    def clear(self) -> None:
        """Set all sums to 0."""
        for array in self.arrays:
            array.zero_()

    def contents(self) -> dict[str, np.ndarray]:
        """`sums` and `squares`, float64 [height, width, 3], and `dropped`, int32 [height, width]."""
        sums, squares = (array.numpy().reshape(*self._shape, 3) for array in self.arrays[:2])
        return {"sums": sums, "squares": squares, "dropped": self.dropped()}

    def assign(self, sums: np.ndarray, squares: np.ndarray, dropped: np.ndarray) -> None:
        """Set the sums to what `contents` returned."""
        for array, values, columns in zip(self.arrays, (sums, squares, dropped), (3, 3, None), strict=True):
            array.assign(values.reshape(-1, columns) if columns else values.reshape(-1))

    def dropped(self) -> np.ndarray:
        """Dropped samples of each pixel, int32 [height, width]."""
        return self.arrays[2].numpy().reshape(self._shape)

    def counts(self, samples: int) -> np.ndarray:
        """Number of samples of each pixel that were not dropped, of `samples`, at least 1, int [height, width, 1]."""
        return np.maximum(samples - self.dropped(), 1)[:, :, None]

    def moments(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and unbiased variance of the `samples` samples of each pixel, float64 [height, width, 3] each."""
        contents, count = self.contents(), self.counts(samples)
        mean = contents["sums"] / count
        spread = contents["squares"] / count - mean**2
        return mean, np.maximum(spread, 0.0) * count / np.maximum(count - 1, 1)
