"""The checks of frames with the radiance cache, launched one by one and as CUDA graphs, against path tracing on the CPU."""

from __future__ import annotations

import numpy as np

from nrc_tracer.cache import RadianceCache
from nrc_tracer.doctor.check import Comparison
from nrc_tracer.doctor.path_check import ERRORS, rendered
from nrc_tracer.doctor.scenes import box_scene
from nrc_tracer.tracer import Renderer

SIZE = (32, 24)
SAMPLES, REFERENCE_SAMPLES = 64, 256
"""Samples per pixel with the cache, and of the path tracer's image."""

RECORDS, TRAIN_FRAMES = 2048, 32
BIAS = 0.1
"""Largest relative error of the image's mean besides its noise: a cache is biased, and this one is small and trained briefly.
Wrong features, throughputs or targets change images by more."""

MOST_SKIPPED = 0.1
"""Largest fraction of training steps that may be skipped: in float16 some are, until the loss scale fits."""


MOST_MISSED = 0.5
"""Largest fraction of paths that may end without a prediction: in a box most paths meet a wall again."""


def compare_frames(device: str, *, fused: bool) -> list[Comparison]:
    """Render with a cache on the device, and without one on the CPU."""
    scene = box_scene(*SIZE)
    precision = "float16" if fused else "auto"
    cache = RadianceCache(records=RECORDS, train_frames=TRAIN_FRAMES, fused=fused, precision=precision)
    ours = Renderer(scene, device=device, cache=cache, max_depth=-1)
    ours.step(SAMPLES)
    plain = rendered(scene, REFERENCE_SAMPLES, "cpu", max_depth=-1)
    (a, va), (b, vb) = ours.moments(), plain.moments()
    noise = np.sqrt(va.sum() / ours.samples + vb.sum() / plain.samples) / b.size
    error = abs(float(a.mean() - b.mean()))
    trainer = cache.trainer
    skipped = trainer.skipped_steps / max(trainer.steps + trainer.skipped_steps, 1)
    missed = 1.0 - float(ours.cache_report()["queries_per_path"])
    return [
        Comparison(
            "relative error of the image's mean", error / float(b.mean()), BIAS + ERRORS * noise / float(b.mean())
        ),
        Comparison("fraction of skipped training steps", skipped, MOST_SKIPPED),
        Comparison("fraction of paths that miss the cache", missed, MOST_MISSED),
        Comparison("samples that are not finite", float(ours.dropped), 0.0),
    ]


def compare_cached_frames(device: str) -> list[Comparison]:
    """Compare frames whose parts are launched one by one."""
    return compare_frames(device, fused=False)


def compare_graph_frames(device: str) -> list[Comparison]:
    """Compare frames that are launched as CUDA graphs, with fused networks."""
    return compare_frames(device, fused=True)
