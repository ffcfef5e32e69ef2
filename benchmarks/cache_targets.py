"""Goals of the radiance cache, and whether measured figures reach them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

UNCACHED_SHARE = {10.0: 1 / 5, 60.0: 1 / 3}
"""Largest relMSE of cached relative to uncached rendering after a number of seconds; for other times see `allowed_share`."""


@dataclass(frozen=True)
class Verdict:
    """A figure and its goal.

    Attributes:
        what: Its name.
        value: The measured value.
        least, most: The bounds of the goal; infinite if there is no bound.
    """

    what: str
    value: float
    least: float
    most: float

    @property
    def passed(self) -> bool:
        """Whether the value lies within the bounds; a value that could not be measured does not."""
        return math.isfinite(self.value) and self.least <= self.value <= self.most

    @property
    def target(self) -> str:
        """The bounds as text."""
        if math.isinf(self.least):
            return f"<= {self.most:.3g}"
        return f"{self.least:.3g} .. {self.most:.3g}" if math.isfinite(self.most) else f">= {self.least:.3g}"

    def plain(self) -> dict[str, Any]:
        """The data for JSON, which has no infinity."""
        values = {name: value for name, value in asdict(self).items() if name == "what" or math.isfinite(value)}
        return {**values, "passed": self.passed}


def at_most(what: str, value: float, most: float) -> Verdict:
    """A figure with an upper bound."""
    return Verdict(what, value, -math.inf, most)


def judge_quality(figures: Mapping[str, Any]) -> list[Verdict]:
    """Judge brightness and structure after 64 training frames, and the noise that is left of uncached rendering's.

    Noise alone means little, as a black cache has the least. So the means of the image and of its blocks come first.
    """
    return [
        Verdict("image mean / reference", figures["image_mean"], 0.97, 1.03),
        at_most("RMS relative error of 16 x 16 blocks", figures["block_error"], 0.12),
        at_most("relative variance / uncached", figures["relative_variance_ratio"], 0.1),
        at_most("variance / perfect cache", figures["variance_over_bound"], 1.3),
    ]


def allowed_share(seconds: float) -> float:
    """Largest allowed relMSE relative to uncached rendering: 1/5 up to 10 s, 1/3 from 60 s on, interpolated in log(time)."""
    (first, low), (last, high) = UNCACHED_SHARE.items()
    part = math.log(max(seconds, first) / first) / math.log(last / first)
    return low * (high / low) ** min(part, 1.0)


def judge_race(figures: Mapping[str, Any]) -> list[Verdict]:
    """Judge errors at equal time, including warm-up and training."""
    verdicts = []
    for point in figures["points"]:
        seconds = point["seconds"]
        verdicts.append(at_most(f"relMSE / uncached at {seconds:g} s", point["on_ratio"], allowed_share(seconds)))
        if "unbiased_ratio" in point:
            verdicts.append(at_most(f"unbiased: relMSE / uncached at {seconds:g} s", point["unbiased_ratio"], 1.05))
    return verdicts


def judge_direct(figures: Mapping[str, Any]) -> list[Verdict]:
    """Judge a directly lit scene, in which there is little to gain, and little may be lost."""
    return [at_most(f"relMSE / uncached at {p['seconds']:g} s", p["on_ratio"], 1.1) for p in figures["points"]]


def judge_cost(figures: Mapping[str, Any]) -> list[Verdict]:
    """Judge the time of the cache's work, in uncached frames."""
    return [
        at_most("queries / uncached frame", figures["query"], 0.6),
        at_most("queries + training in the warm-up / uncached frame", figures["query_and_training"], 1.5),
        at_most("cached frame after the warm-up / uncached frame", figures["cached_frame"], 0.9),
    ]


def judge_encodings(figures: Mapping[str, Any]) -> list[Verdict]:
    """Judge the hash grid compared with the triangle wave."""
    return [
        at_most("view: relMSE, hash / triangle-wave", figures["rel_mse_ratio"], 1.0),
        at_most("view: time, hash / triangle-wave", figures["time_ratio"], 1.3),
    ]
