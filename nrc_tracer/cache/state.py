"""The state of a radiance cache apart from its weights, and of an image that is rendered with it apart from its film."""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Amount = Annotated[float, msgspec.Meta(ge=0.0)]
Probability = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]


class CacheState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a cache has done so far. It decides what the cache does next, and is saved with it.

    Attributes:
        frame: Index of the next frame; a frame counts unless the cache is frozen.
        is_warm: Whether the warm-up is over.
        warm_up_frames: Frames of the warm-up so far.
        warm_up_seconds: Time they took [s].
        late_frames: Training frames that the warm-up was short of, and that are still to be rendered between frames of the image.
        adapt_until: Index of the first frame after the adaptation to a changed scene.
        needs_scale: Whether the next training frame measures the radiance scale again, as the light may have changed.
        small_estimates: Consecutive estimates of the bias in the warm-up that were small.
        credit: Rendering since the last training frame, in frames of eight pixels per training record.
        unbiased_step: Training frames since the warm-up or the last adaptation; decides the share of unbiased suffixes.
        learning_rate_step: Training frames since the first one or the last change of the scene; decides the learning rate.
        measurements: Measurements on held-out paths so far; each has random numbers of its own.
        bad_records: Training records that were dropped as they were not finite.
    """

    frame: Count = 0
    is_warm: bool = False
    warm_up_frames: Count = 0
    warm_up_seconds: Amount = 0.0
    late_frames: Count = 0
    adapt_until: Count = 0
    needs_scale: bool = False
    small_estimates: Count = 0
    credit: Amount = 0.0
    unbiased_step: Count = 0
    learning_rate_step: Count = 0
    measurements: Count = 0
    bad_records: Count = 0


class ImageState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Counters and decisions of one renderer's image; renderers that share a cache have one each.

    Attributes:
        paths: Paths of the image.
        path_vertices: Vertices of all of them.
        queries: Queries of the cache.
        query_vertices: Sum over the queries of the number of the vertex, counted from 1.
        training_paths: Paths of the next training frame; None before the first.
        continue_probability: In mode `unbiased`, the probability with which a path continues beyond its cut; None until it is
            decided.
    """

    paths: Count = 0
    path_vertices: Count = 0
    queries: Count = 0
    query_vertices: Count = 0
    training_paths: Count | None = None
    continue_probability: Probability | None = None

    def add(self, counts: ImageState) -> None:
        """Add the counters of some more paths of the image."""
        self.paths += counts.paths
        self.path_vertices += counts.path_vertices
        self.queries += counts.queries
        self.query_vertices += counts.query_vertices

    def begin_image(self) -> None:
        """Set the image's counters to 0."""
        self.paths = self.path_vertices = self.queries = self.query_vertices = 0
