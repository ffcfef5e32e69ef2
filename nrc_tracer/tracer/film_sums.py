"""The sums of samples that an image is made of."""

from __future__ import annotations

import numpy as np
import warp as wp

from nrc_tracer.errors import DeviceError


class FilmSums:
    """For each pixel the sum of its samples, that of their squares, and how many were left out; on a device.

    Args:
        width: Width [pixels].
        height: Height [pixels].
        device: Warp device.

    Attributes:
        arrays: Sums and squares, `vec3d` [pixels], and what was left out, int [pixels], for kernels.

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
        """Take all samples out."""
        for array in self.arrays:
            array.zero_()

    def contents(self) -> dict[str, np.ndarray]:
        """`sums` and `squares`, float64 [height, width, 3], and `dropped`, int32 [height, width]."""
        sums, squares = (array.numpy().reshape(*self._shape, 3) for array in self.arrays[:2])
        return {"sums": sums, "squares": squares, "dropped": self.dropped()}

    def assign(self, sums: np.ndarray, squares: np.ndarray, dropped: np.ndarray) -> None:
        """Take over what `contents` gave."""
        for array, values, columns in zip(self.arrays, (sums, squares, dropped), (3, 3, None), strict=True):
            array.assign(values.reshape(-1, columns) if columns else values.reshape(-1))

    def dropped(self) -> np.ndarray:
        """Samples left out in each pixel, int32 [height, width]."""
        return self.arrays[2].numpy().reshape(self._shape)

    def counts(self, samples: int) -> np.ndarray:
        """Of `samples` in each pixel those that count, at least 1, [height, width, 1]."""
        return np.maximum(samples - self.dropped(), 1)[:, :, None]

    def moments(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean of `samples` in each pixel, and their variance if they are independent, float64 [height, width, 3] each."""
        contents, count = self.contents(), self.counts(samples)
        mean = contents["sums"] / count
        spread = contents["squares"] / count - mean**2
        return mean, np.maximum(spread, 0.0) * count / np.maximum(count - 1, 1)
