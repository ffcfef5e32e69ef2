"""Querying the cache where paths end in it; its predictions become training targets and samples of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.cache.assembly import (
    add_samples,
    add_samples_and_residuals,
    draw_records,
    gather_ends,
    propagate_targets,
)
from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.marked import LIGHT_ITEMS, Marked
from nrc_tracer.cache.path_source import FilmArrays
from nrc_tracer.cache.residuals import ResidualRecord
from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher


def predict_ends(
    cache: RadianceCache,
    launcher: TorchLauncher,
    buffers: RecordBuffers,
    ends: Marked,
    *,
    trained: bool = False,
    room: Tensor | None = None,
) -> Tensor:
    """Predict the radiance scattered at the last cuts of paths.

    Args:
        cache: The cache.
        launcher: Launcher of the device.
        buffers: Records of the paths.
        ends: The paths to query, each with a cut.
        trained: Predict with the trained weights instead of their average.
        room: Memory for the features of as many paths as there can be, float32 [N, FEATURES]. With it the host does not wait
            for the number of paths.

    Returns:
        Predictions in the order of `ends`, float32 [N, 3], at least one row; rows after the last path are undefined.
    """
    if room is None:
        features = torch.zeros((max(int(ends.count), 1), FEATURES), device=launcher.torch_device)
        limits = {}
    else:
        features, limits = room, {"count": ends.count}
    arrays = [buffers.record, as_warp(ends.items), as_warp(ends.count)]
    _launch(launcher, gather_ends, len(features), lambda base: [*arrays, base, as_warp(features)])
    return cache.predict(features, trained=trained, **limits)


def targets_of(
    launcher: TorchLauncher, buffers: RecordBuffers, ends: Marked, predictions: Tensor, paths: int
) -> tuple[Tensor, Tensor]:
    """Training targets of the cuts of paths.

    Args:
        launcher: Launcher of the device.
        buffers: Records of the training paths.
        ends: The paths that ended in the cache.
        predictions: Predictions there, float32 [number of ends, 3].
        paths: Number of paths: the first ones in `buffers`.

    Returns:
        The radiance scattered at each cut, float32 [paths * capacity, 3], and 1 where it is a training record, else 0, int32
        [paths * capacity].
    """
    rows, device = paths * buffers.capacity, launcher.torch_device
    targets, is_record = torch.zeros((rows, 3), device=device), torch.zeros(rows, dtype=torch.int32, device=device)
    before = [buffers.record, as_warp(ends.upto), as_warp(predictions, wp.vec3)]
    after = [as_warp(targets, wp.vec3), as_warp(is_record)]
    _launch(launcher, propagate_targets, paths, lambda base: [*before, base, *after])
    return targets, is_record


def draw_batch(
    launcher: TorchLauncher,
    buffers: RecordBuffers,
    targets: Tensor,
    found: Marked,
    *,
    seed: int,
    frame: Tensor,
    into: tuple[Tensor, Tensor],
) -> None:
    """Draw training records in a random order, as many as there is room for.

    Args:
        launcher: Launcher of the device.
        buffers: Records of the training paths.
        targets: Targets of all cuts, float32 [paths * capacity, 3].
        found: The cuts that are training records.
        seed: 64-bit seed of the order.
        frame: Index of the frame, another order for each, int32 [1].
        into: Memory for the features, float32 [N, FEATURES], and the targets, float32 [N, 3], that are drawn.
    """
    before = [buffers.record, as_warp(targets, wp.vec3), as_warp(found.items), as_warp(found.count)]
    before += [wp.uint64(seed), as_warp(frame)]
    after = [as_warp(into[0]), as_warp(into[1], wp.vec3)]
    _launch(launcher, draw_records, len(into[0]), lambda base: [*before, base, *after])


def add_to_film(
    launcher: TorchLauncher,
    buffers: RecordBuffers,
    ends: Marked,
    predictions: Tensor,
    probability: float,
    film: FilmArrays,
    residuals: tuple[ResidualRecord, Tensor] | None = None,
) -> None:
    """Add a sample to each pixel.

    Args:
        launcher: Launcher of the device.
        buffers: Records of one path through each pixel.
        ends: The paths with a cut.
        predictions: Predictions there, float32 [number of ends, 3].
        probability: Probability with which paths were continued beyond their cut.
        film: The film's sums.
        residuals: Sums for what continued paths find beyond the prediction, and the index of the sample, int32 [1]. Without
            them, it is added to the sample itself.
    """
    before = [buffers.record, as_warp(ends.upto), as_warp(predictions, wp.vec3), probability]
    if residuals is None:
        _launch(launcher, add_samples, buffers.paths, lambda base: [*before, base, *film])
        return
    after = [*film, residuals[0], as_warp(residuals[1])]
    _launch(launcher, add_samples_and_residuals, buffers.paths, lambda base: [*before, base, *after])


def _launch(launcher: TorchLauncher, kernel: Any, count: int, arguments: Callable[[int], list]) -> None:
    launcher.run(kernel, count, arguments, block_size=LIGHT_ITEMS)
