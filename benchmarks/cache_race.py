"""Errors at equal time, with all ways to render taking turns so that other load slows all alike; and when uncached overtakes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.cache_references import Stage
from nrc_tracer.cache import RadianceCache
from nrc_tracer.imaging import block_sums, rel_mse
from nrc_tracer.tracer import Renderer

TURN = 0.5
"""Seconds after which the next one takes its turn."""
WARM_UP_SHARE = 0.25
"""Largest fraction of the time for the warm-up, as in the `render` command."""
MEASURED = ("v_0", "v_l", "v", "t_0", "t_l", "t")
"""Measurements that decide how many paths continue beyond the cache."""
BLOCKS = (8, 32)
"""Sides of the blocks whose means are compared as well [pixels]."""
TRIM = 0.001
"""Fraction of the worst pixels that the trimmed error leaves out."""


@dataclass
class Runner:
    """One way to render, with its time.

    Attributes:
        renderer: The renderer; its time includes the warm-up.
        seconds: The time available.
        stops: Times at which the error is measured, the last one at the end.
        points: The errors so far.
    """

    renderer: Renderer
    seconds: float
    stops: list[float]
    points: list[dict[str, Any]] = field(default_factory=list)
    _frame: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether its time is over."""
        return len(self.points) == len(self.stops)

    def take_turn(self, stage: Stage) -> None:
        """Render for a while, and measure the error if it is time to do so."""
        renderer = self.renderer
        begin = time.perf_counter()
        most = max(0.0, WARM_UP_SHARE * self.seconds - renderer.seconds)
        if not renderer.warm_up(seconds=most, stop=lambda: time.perf_counter() - begin > TURN):
            return
        stop = self.stops[len(self.points)]
        # As many samples as meet the time best, but at least one
        left = min(TURN, stop - renderer.seconds)
        samples = max(1, round(left / self._frame)) if self._frame > 0.0 else 1
        before = renderer.seconds
        renderer.step(samples)
        self._frame = (renderer.seconds - before) / samples
        if renderer.seconds + 0.5 * self._frame >= stop:
            self.points.append(_point(renderer, stage))


def _point(renderer: Renderer, stage: Stage) -> dict[str, Any]:
    """Error and variance of the image so far."""
    image, variance = renderer.image().rgb.astype(np.float64), renderer.moments()[1]
    first, second = stage.references
    level = stage.level
    relative = variance / (np.square(level) + 0.01 * level.mean() ** 2)
    return {
        "seconds": renderer.seconds,
        "samples": renderer.samples,
        "rel_mse": rel_mse(image, first, second, level=level),
        "rel_mse_trimmed": rel_mse(image, first, second, trim=TRIM, level=level),
        "variance": float(relative.mean()) / renderer.samples,
        "mean": float(image.mean() / level.mean()),
        **{f"block_error_{size}": _block_error(image, stage, size) for size in BLOCKS},
    }


def _block_error(image: np.ndarray, stage: Stage, size: int) -> float:
    """Root of the relMSE of means over blocks; 0 if it is below the noise of the references."""
    values = (image, *(reference.astype(np.float64) for reference in stage.references))
    mean, first, second = (block_sums(x, size) / block_sums(np.ones((*x.shape[:2], 1)), size) for x in values)
    return math.sqrt(max(rel_mse(mean, first, second), 0.0))


def race(stage: Stage, times: list[float], *, unbiased: bool = True) -> dict[str, Any]:
    """Render uncached, cached with and without correction, and unbiased for equal time.

    Uncached and unbiased rendering have one run each, in which errors are measured along the way; cached rendering has one run
    for each time, because the time decides how long the warm-up may be.
    """
    longest = max(times)
    runners = {"off": Runner(stage.renderer(seed=1), longest, list(times))}
    for seconds in times:
        for mode in ("on", "raw"):
            runners[f"{mode} {seconds:g}"] = Runner(stage.renderer(RadianceCache(), mode, seed=2), seconds, [seconds])
    if unbiased:
        renderer = stage.renderer(RadianceCache(), "unbiased", seed=3)
        runners["unbiased"] = Runner(renderer, longest, list(times))
    while not all(runner.is_done for runner in runners.values()):
        for runner in runners.values():
            if not runner.is_done:
                runner.take_turn(stage)
    off = runners["off"].points
    found: dict[str, Any] = {"points": []}
    for number, seconds in enumerate(times):
        on = runners[f"on {seconds:g}"]
        point = {"seconds": seconds, "off": off[number], "on": on.points[0], "on_report": on.renderer.cache_report()}
        ways = {"on": on, "raw": runners[f"raw {seconds:g}"], "unbiased": runners.get("unbiased")}
        for name, values in ways.items():
            if values is not None:
                other = values.points[number if name == "unbiased" else 0]
                point[name] = other
                for key in ("rel_mse", "rel_mse_trimmed"):
                    point[f"{name}_ratio{key.removeprefix('rel_mse')}"] = ratio_at_equal_time(other, off[number], key)
        point["crossing_seconds"] = crossing(point["off"], point["raw"])
        found["points"].append(point)
    if unbiased:
        found["unbiased"] = describe_unbiased(runners["unbiased"].renderer.cache_report())
    return found


def ratio_at_equal_time(error: dict[str, float], plain: dict[str, float], key: str = "rel_mse") -> float:
    """An error relative to that of uncached rendering, scaled as 1 / t to the same time, as times differ by up to a frame."""
    return error[key] / (plain[key] * plain["seconds"] / error["seconds"])


def crossing(plain: dict[str, float], cached: dict[str, float]) -> float | None:
    """Seconds after which uncached rendering has the smaller error, if the cache stops learning; None if never.

    The uncached error is E t_0 / t and the cached one B^2 + V t_1 / t, where B^2 is the part that the variance V of samples
    does not explain.
    """
    squared_bias = cached["rel_mse"] - cached["variance"]
    lead = plain["rel_mse"] * plain["seconds"] - cached["variance"] * cached["seconds"]
    if lead <= 0.0:
        return 0.0
    return lead / squared_bias if squared_bias > 0.0 else None


def describe_unbiased(report: dict[str, Any]) -> dict[str, Any]:
    """Variances and costs of mode `unbiased`, as measured by the cache, and the error that they predict at equal time."""
    found = {name: report[name] for name in (*MEASURED, "best_probability", "continue_probability", "gain")}
    v_l, v, t_0, t_l, t, q = (
        math.nan if found[n] is None else found[n] for n in (*MEASURED[1:], "continue_probability")
    )
    # With q = 1 the cache is not used
    ratio = 1.0 if q == 1.0 else (v + (1.0 / q - 1.0) * v_l) * (t_0 + q * t_l) / (v * t)
    found["predicted_error_ratio"] = ratio if math.isfinite(ratio) else None
    return found | {name: report[name] for name in ("warm_up_seconds", "warm_up_frames")}
