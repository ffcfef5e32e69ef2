"""The check of the path tracer: the same paths on two devices, and a furnace in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from nrc_tracer.doctor.check import Comparison
from nrc_tracer.doctor.scenes import ALBEDO, box_scene, furnace_scene
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer import Renderer

SIZE = (48, 32)
SAMPLES, FURNACE_SAMPLES = 64, 128
"""Pixels of the images that are compared, samples of each, and samples per pixel of the furnace."""

ERRORS = 4.0
"""Largest difference [standard errors]. Normal errors exceed it 6 times in 100,000; paths are the same, so most are far below."""

OUTLIERS = 1e-3
"""Largest fraction of pixel values that differ by more than `ERRORS`. Rounding changes the course of few paths."""

ROUNDING = 1e-4
"""Largest median of the relative differences of pixels: some hundred float32 roundings of 6e-8 each, ten times over."""


def rendered(scene: Scene, samples: int, device: str, **options: Any) -> Renderer:
    """A renderer with `samples` samples per pixel."""
    renderer = Renderer(scene, device=device, **options)
    renderer.step(samples)
    return renderer


def compare_images(first: Renderer, second: Renderer) -> list[Comparison]:
    """Compare two images of the same paths: pixel by pixel, and their means."""
    (a, va), (b, vb) = first.moments(), second.moments()
    samples = min(first.samples, second.samples)
    error = np.sqrt((va + vb) / samples) + 1e-5
    outliers = float(np.mean(~(np.abs(a - b) <= ERRORS * error)))
    total = np.sqrt((va + vb).sum(axis=(0, 1)) / samples) / a[..., 0].size
    means = np.abs(a.mean(axis=(0, 1)) - b.mean(axis=(0, 1))) / total
    relative = np.abs(a - b) / np.maximum(np.abs(b), 1e-3)
    return [
        Comparison(f"fraction of pixels {ERRORS:g} standard errors apart", outliers, OUTLIERS),
        Comparison("standard errors between image means", float(means.max()), ERRORS),
        Comparison("median relative difference of pixels", float(np.median(relative)), ROUNDING),
    ]


def compare_paths(device: str) -> list[Comparison]:
    """Render a box on the device and on the CPU with another acceleration structure, and a furnace on the device."""
    scene = box_scene(*SIZE)
    ours = rendered(scene, SAMPLES, device, threads=1)
    # On one thread with the default structure against several threads and Warp's: on a GPU the first is the GPU
    accel = "warp" if device == "cpu" else None
    peer = rendered(scene, SAMPLES, "cpu", accel=accel, threads=2, block_size=333)
    furnace = rendered(furnace_scene(32), FURNACE_SAMPLES, device)
    mean, variance = furnace.moments()
    error = np.sqrt(variance.sum(axis=(0, 1)).max() / FURNACE_SAMPLES) / variance[..., 0].size
    return [
        *compare_images(ours, peer),
        Comparison(
            "error of the furnace's radiance",
            float(np.abs(mean.mean(axis=(0, 1)) - ALBEDO).max()),
            1e-5 + ERRORS * error,
        ),
        Comparison("samples that are not finite", ours.dropped + peer.dropped + furnace.dropped, 0.0),
    ]
