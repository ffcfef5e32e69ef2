"""The residuals of one image, and the correction that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.cache.correction import Correction, estimate_correction
from nrc_tracer.cache.path_source import PathSource
from nrc_tracer.cache.residuals import HALVES, Residuals, half_counts
from nrc_tracer.device.torch_launcher import single_threaded_torch


class ImageCorrection:
    """Corrects the image of a path source.

    Args:
        source: What traces the image's paths.

    Attributes:
        residuals: The residuals of its samples.
    """

    def __init__(self, source: PathSource) -> None:
        self._source = source
        self.residuals = Residuals.zeros(source.width * source.height, source.launcher.torch_device)
        self._last: tuple[int, Correction] | None = None  # with the number of samples that it is for
        self._guide: tuple[int, np.ndarray] | None = None  # with the number of samples that it comes from

    def clear(self) -> None:
        """Begin a new image."""
        self.residuals.clear()
        self._last = self._guide = None

    def add(self, residuals: np.ndarray) -> None:
        """Add the residuals of a block that was traced elsewhere: sums and squares, float64 [2, 2, height, width, 3]."""
        device = self._source.launcher.torch_device
        sums, squares = (torch.from_numpy(x).reshape(HALVES, -1, 3).to(device) for x in residuals)
        self.residuals.add(sums, squares)

    def assign(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from the tensors of residuals in a file, which `Residuals.check` has accepted."""
        self.residuals.assign(tensors)
        self._last = None

    def guide(self, samples: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What the correction is expected to be proportional to, float64 [pixels, 3].

        Args:
            samples: Number of the image's samples that it comes from.
            make: Makes it from them, if it is not known yet.
        """
        if self._guide is None or self._guide[0] != samples:
            self._guide = samples, make()
        return self._guide[1]

    def estimate(self, samples: int, dropped: np.ndarray, guide: Callable[[], np.ndarray]) -> Correction:
        """What the image lacks: see `estimate_correction`.

        Args:
            samples: Samples per pixel.
            dropped: Number of dropped samples of each pixel, int32 [height, width].
            guide: Gives what the correction is expected to be proportional to, above 0, float64 [pixels, 3].
        """
        if self._last is None or self._last[0] != samples:
            self._last = samples, self._estimate(samples, dropped, guide())
        return self._last[1]

    def _estimate(self, samples: int, dropped: np.ndarray, guide: np.ndarray) -> Correction:
        source, device = self._source, self._source.launcher.torch_device
        with single_threaded_torch(source.launcher):
            return estimate_correction(
                self.residuals,
                half_counts(samples),
                source.launcher,
                height=source.height,
                width=source.width,
                guide=torch.from_numpy(guide).to(device),
                dropped=torch.from_numpy(dropped.reshape(-1)).to(device),
            )
