"""The layers of an image by name: what its first samples hit first, the variance of a sample, and the state of a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import NrcError, nearest
from nrc_tracer.tracer.layers import (
    CACHE_LAYERS,
    LAYERS,
    MOST_CACHE_SAMPLES,
    MOST_SAMPLES,
    FirstHits,
    make_layers,
    trace_first_hits,
)
from nrc_tracer.tracer.path_inputs import PathInputs

if TYPE_CHECKING:
    from nrc_tracer.cache.frames import CachedFrames


class ImageLayers:
    """Makes the layers of an image.

    Args:
        inputs: Scene, camera, film and settings of the image.
        launcher: Launches kernels.
        samples: Samples per pixel of the image so far.
    """

    def __init__(self, inputs: PathInputs, launcher: Launcher, samples: int) -> None:
        self._inputs, self._launcher, self._samples = inputs, launcher, samples

    def by_name(
        self, names: Sequence[str] | None, variance: Callable[[], np.ndarray], frames: CachedFrames | None
    ) -> dict[str, np.ndarray]:
        """The layers that `Renderer.layers` describes; all of them unless names are given.

        Args:
            names: Names of layers.
            variance: Gives the variance of a sample in each pixel, [height, width, 3].
            frames: The frames of a cache, if the image has one.

        Raises:
            NrcError: There is no layer of that name, or it needs a cache and there is none.
        """
        known = LAYERS if frames is None else LAYERS + CACHE_LAYERS
        names = known if names is None else names
        for name in names:
            if name not in known:
                without = " without a cache" if name in CACHE_LAYERS else ""
                raise NrcError(f'there is no layer "{name}"{without}{nearest(name, known)}')
        found: dict[str, np.ndarray] = {}
        if frames is not None and any(name in CACHE_LAYERS for name in names):
            found |= frames.layers(max(1, min(self._samples, MOST_CACHE_SAMPLES)))
        if any(name != "variance" and name in LAYERS for name in names):
            hits, samples = self._first_hits()
            width, height = self._inputs.size
            found |= make_layers(hits, width=width, height=height, samples=samples, origin=self._inputs.origin)
        if "variance" in names:
            found["variance"] = variance().astype(np.float32)
        return {name: found[name] for name in names}

    def coverage(self) -> np.ndarray:
        """Share of each pixel that shows a surface, [height, width], float32."""
        hits, samples = self._first_hits()
        width, height = self._inputs.size
        return (hits.hits.astype(np.float32) / samples).reshape(height, width)

    def _first_hits(self) -> tuple[FirstHits, int]:
        """First hits of the image's first samples, and the number of these samples."""
        samples = max(1, min(self._samples, MOST_SAMPLES))
        width, height = self._inputs.size
        records = self._inputs.records
        return trace_first_hits(self._launcher, *records, pixels=width * height, samples=samples), samples
