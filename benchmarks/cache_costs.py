"""The cost of the radiance cache in uncached frames, and the hash encoding compared with the triangle wave."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.cache_figures import freeze
from benchmarks.cache_references import Stage
from nrc_tracer.cache import RadianceCache
from nrc_tracer.imaging import rel_mse
from nrc_tracer.tracer import Renderer

ENDLESS = 2**30
"""Number of frames of a warm-up that does not end by itself."""
FIRST_FRAMES = 8
"""Number of frames after which the number of training paths has settled."""


def _train_frame(renderer: Renderer) -> None:
    """Render one frame of the warm-up."""
    renderer.warm_up(frames=ENDLESS, stop=lambda: True)


def _clock(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure_costs(stage: Stage, rounds: int, **options: Any) -> dict[str, Any]:
    """Times of queries, training and cached frames relative to uncached frames, as medians of frames that take turns.

    The time of training after the warm-up is a mean, because not every frame trains.

    Args:
        stage: The scene.
        rounds: Number of frames of each kind.
        options: Settings of the caches.
    """
    plain = stage.renderer()
    learning = stage.renderer(RadianceCache(train_frames=ENDLESS, **options))
    cache = RadianceCache(train_frames=FIRST_FRAMES, **options)
    cached = stage.renderer(cache)
    for _ in range(FIRST_FRAMES):
        _train_frame(learning)
    cached.warm_up()
    plain.step()
    cached.step()
    every = cache.options.train_every
    seconds: dict[str, list[float]] = {name: [] for name in ("plain", "learning", "trace", "query", "cached")}
    seconds_of, training = cached.frames.seconds, learning.frames.seconds
    begun = seconds_of()["train"]
    for _ in range(rounds):
        seconds["plain"].append(_clock(plain.step))
        before = training()["train"]
        _train_frame(learning)
        seconds["learning"].append(training()["train"] - before)
        before = seconds_of()
        whole = _clock(lambda: cached.step(every))
        spent = {part: after - before[part] for part, after in seconds_of().items()}
        seconds["cached"].append((whole - spent["train"]) / every)
        seconds["trace"].append(spent["trace"] / every)
        seconds["query"].append(spent["query"] / every)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    frame = medians["plain"]
    training_after = (seconds_of()["train"] - begun) / (rounds * every)
    report = cached.cache_report()
    return {
        "uncached_frame_seconds": frame,
        "trace": medians["trace"] / frame,
        "query": medians["query"] / frame,
        "training": medians["learning"] / frame,
        "query_and_training": (medians["query"] + medians["learning"]) / frame,
        "training_after": training_after / frame,
        "cached_frame": (medians["cached"] + training_after) / frame,
        "records": learning.frames.records,
        "steps": learning.frames.steps,
        "queries_per_path": report["queries_per_path"],
        "segments_per_path": report["mean_path_length"],
    }


def measure_encodings(stage: Stage, *, train_frames: int, frames: int) -> dict[str, Any]:
    """The error of each encoding's predictions, seen directly, and the times of a training frame and of a viewing frame."""
    found, shown, seconds = {}, {}, {}
    for encoding in ("hash", "triangle-wave"):
        cache = RadianceCache(encoding=encoding, train_frames=ENDLESS)
        shown[encoding] = cache, stage.renderer(cache, "view")
        seconds[encoding] = []
    for _ in range(train_frames):
        for encoding, (_, renderer) in shown.items():
            seconds[encoding].append(_clock(lambda renderer=renderer: _train_frame(renderer)))
    for cache, _ in shown.values():
        freeze(cache)
    looks: dict[str, list[float]] = {encoding: [] for encoding in shown}
    for _ in range(frames):
        for encoding, (_, renderer) in shown.items():
            looks[encoding].append(_clock(renderer.step))
    for encoding, (_, renderer) in shown.items():
        image = renderer.moments()[0]
        first, second = stage.references
        found[encoding] = {
            "rel_mse": rel_mse(image, first, second, level=stage.level),
            "mean": float(image.mean() / stage.reference.mean.mean()),
            "training_frame_seconds": statistics.median(seconds[encoding]),
            "view_frame_seconds": statistics.median(looks[encoding]),
        }
    ours, paper = found["hash"], found["triangle-wave"]
    times = [sum(e[name] for name in ("training_frame_seconds", "view_frame_seconds")) for e in (ours, paper)]
    return {**found, "rel_mse_ratio": ours["rel_mse"] / paper["rel_mse"], "time_ratio": times[0] / times[1]}
