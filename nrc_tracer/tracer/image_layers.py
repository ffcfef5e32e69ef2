"""The layers of an image by name: what its first samples hit first, the variance of a sample, and the state of a cache.

The means over the image's first 64 samples (all, if it has fewer; one, if it has none yet) of

* `albedo`, [height, width, 3]: colour of the diffuse base, 1 for glass and mirrors, black where there is nothing;
* `normal`, [height, width, 3]: shading normal of the visible side, in world space; 0 where there is nothing;
* `depth`, [height, width]: distance along the camera's axis; infinite where there is nothing;
* `position`, [height, width, 3]: in world space; 0 where there is nothing;

and of the first sample, with -1 for nothing,

* `shape`, [height, width], int32: index of the shape, instances counted one by one;
* `material`, [height, width], int32: 0 is the grey of shapes without one, i the scene's i-th;

and `variance`, [height, width, 3]: of one sample of the image, as in `Renderer.moments`. Surfaces cut away by a mask are not
seen.

With a cache, means over the first 16 samples of

* `path_length`, [height, width]: vertices of a path;
* `cache_depth`, [height, width]: number of the vertex, counted from 1, at which a path ends in the cache, over the paths that do;
  0 where none does;
* `cache_prediction` and `cache_target`, [height, width, 3]: the cache's predictions at the first surface that is no mirror, and
  what paths find there, both as the camera sees them;

and, over the whole image,

* `training_density`, [height, width]: training paths that began in each pixel;
* `correction`, [height, width, 3]: what is added to the mean of the cached samples, before values below 0 are set to 0; it is 0
  in all modes except `on`.
"""

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
    launch_first_hits,
    make_layers,
)
from nrc_tracer.tracer.path_inputs import PathInputs

if TYPE_CHECKING:
    from nrc_tracer.cache.correction import Correction
    from nrc_tracer.cache.frames import CachedFrames

GUIDE_SAMPLES = 16
"""Number of the image's samples whose first surfaces guide the correction of a cached image."""

LEAST_ALBEDO = 0.04
"""Smallest albedo in that guide: a surface without a diffuse part may lack light too."""

LEAST_COVERAGE = 0.5 / GUIDE_SAMPLES
"""Smallest share of a pixel in that guide. Other samples may find a surface where these found the background."""


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
        self,
        names: Sequence[str] | None,
        variance: Callable[[], np.ndarray],
        frames: CachedFrames | None,
        dropped: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Layers of the image; all of them unless names are given.

        Args:
            names: Names of layers.
            variance: Gives the variance of a sample in each pixel, [height, width, 3].
            frames: The frames of a cache, if the image has one.
            dropped: Number of dropped samples of each pixel, int32 [height, width].

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
        if frames is not None and any(name in CACHE_LAYERS and name != "correction" for name in names):
            found |= frames.layers(max(1, min(self._samples, MOST_CACHE_SAMPLES)))
        if frames is not None and "correction" in names:
            width, height = self._inputs.size
            correction = self.correction(frames, dropped)
            values = np.zeros((height, width, 3)) if correction is None else correction.values
            found["correction"] = values.astype(np.float32)
        if any(name != "variance" and name in LAYERS for name in names):
            hits, samples = self._first_hits(MOST_SAMPLES)
            width, height = self._inputs.size
            found |= make_layers(hits, width=width, height=height, samples=samples, origin=self._inputs.origin)
        if "variance" in names:
            found["variance"] = variance().astype(np.float32)
        return {name: found[name] for name in names}

    def coverage(self) -> np.ndarray:
        """Share of each pixel that shows a surface, [height, width], float32."""
        hits, samples = self._first_hits(MOST_SAMPLES)
        width, height = self._inputs.size
        return (hits.hits.astype(np.float32) / samples).reshape(height, width)

    def correction(self, frames: CachedFrames | None, dropped: np.ndarray) -> Correction | None:
        """What a cached image in mode `on` lacks: see `nrc_tracer.cache.correction`. None in other modes and without samples.

        Its guide is the albedo of the first surface times the share of the pixel that shows one.

        Args:
            frames: The frames of a cache, if the image has one.
            dropped: Number of dropped samples of each pixel, int32 [height, width].
        """
        if frames is None or frames.correction is None or not self._samples:
            return None
        correction, samples = frames.correction, min(self._samples, GUIDE_SAMPLES)
        return correction.estimate(self._samples, dropped, lambda: correction.guide(samples, self._guide))

    def _guide(self) -> np.ndarray:
        hits, samples = self._first_hits(GUIDE_SAMPLES)
        count = hits.hits.astype(np.float64)[:, None]
        albedo = np.maximum(hits.albedo / np.maximum(count, 1.0), LEAST_ALBEDO)
        return albedo * np.maximum(count / samples, LEAST_COVERAGE)

    def _first_hits(self, most: int) -> tuple[FirstHits, int]:
        """First hits of the image's first samples, and the number of these samples, at most `most`."""
        samples = max(1, min(self._samples, most))
        width, height = self._inputs.size
        records = self._inputs.records
        found = launch_first_hits(self._launcher, *records, pixels=width * height, samples=samples)
        return FirstHits.of(found), samples
