"""The time at which uncached rendering overtakes: noise falls with time, bias stays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nrc_tracer.report.settings import Setting

Line = tuple[Sequence[float], Sequence[float]]
"""Times in seconds, and the errors at these times."""


@dataclass(frozen=True)
class Crossing:
    """The time from which uncached rendering has the smaller error.

    The model is for settings whose bias stays. The uncached error falls as 1 / t from its measured value E_0 at time t_0; the
    other error is the sum of its squared bias B^2, which stays, and its variance, which falls as 1 / t from V at time t. They are
    equal at (E_0 t_0 - V t) / B^2. The model ignores that further training reduces the bias, which makes the time longer.

    Attributes:
        setting: The setting that uncached rendering is compared with.
        seconds: Time by the model; 0 if uncached rendering is ahead from the start, infinity if no bias was found. None where
            the model does not hold, because the setting's bias vanishes as samples come in.
        at_least: Time by the model for a squared bias that is larger by two standard errors; None without the model.
        measured: Time at which the measured curves cross last; None if they do not cross within their common range.
        range: First and last time that both curves cover; None if there is no such range.
    """

    setting: Setting
    seconds: float | None
    at_least: float | None
    measured: float | None
    range: tuple[float, float] | None

    @property
    def words(self) -> str:
        """The result as text."""
        parts = []
        if self.seconds == 0.0:
            parts.append("uncached is ahead at any time (model)")
        elif self.seconds is not None and self.at_least is not None:
            unknown = math.isinf(self.seconds)
            parts.append("never: no bias found" if unknown else f"after {_time(self.seconds)} (model)")
            if unknown and math.isfinite(self.at_least):
                parts.append(f"not before {_time(self.at_least)} (model)")
            elif not unknown and self.at_least < 0.95 * self.seconds:
                parts[-1] += f", not before {_time(self.at_least)}"
        if self.measured is not None:
            parts.append(f"the curves cross at {_time(self.measured)}")
        elif self.range is not None:
            parts.append(f"the curves do not cross from {_time(self.range[0])} to {_time(self.range[1])}")
        return "; ".join(parts)


def find_crossing(
    setting: Setting,
    *,
    plain_error: float,
    plain_seconds: float,
    squared_bias: float,
    squared_bias_error: float,
    variance: float,
    seconds: float,
    plain_curve: Line = ((), ()),
    curve: Line = ((), ()),
) -> Crossing | None:
    """Find when uncached rendering overtakes, from measured curves and, if the setting's bias stays, by the model of `Crossing`.

    Returns:
        The time; None if the setting's bias vanishes and the curves do not cross, so that there is no time to name.

    Args:
        setting: The setting that uncached rendering is compared with.
        plain_error: relMSE of uncached rendering after `plain_seconds`.
        plain_seconds: Time of uncached rendering.
        squared_bias: Relative squared bias of the setting.
        squared_bias_error: Standard error of `squared_bias`.
        variance: Relative variance of the setting after `seconds`.
        seconds: Time of the setting.
        plain_curve: Measured errors of uncached rendering.
        curve: Measured errors of the setting.
    """
    measured, covered = _measured(plain_curve, curve)
    if not setting.is_biased:
        return None if measured is None else Crossing(setting, None, None, measured, covered)
    lead = plain_error * plain_seconds - variance * seconds

    def by_model(bias: float) -> float:
        if lead <= 0.0:
            return 0.0
        return lead / bias if bias > 0.0 else math.inf

    # A bias below two standard errors may be zero
    found = squared_bias if squared_bias > 2.0 * squared_bias_error else 0.0
    at_least = by_model(max(squared_bias, 0.0) + 2.0 * squared_bias_error)
    return Crossing(setting, by_model(found), at_least, measured, covered)


def slope(costs: Sequence[float], errors: Sequence[float]) -> float | None:
    """Return the slope of log error over log cost, by least squares; None for fewer than three positive points."""
    points = [(t, e) for t, e in zip(costs, errors, strict=True) if t > 0.0 and e > 0.0]
    if len(points) < 3:
        return None
    t, e = np.log(np.array(points)).T
    return None if np.ptp(t) == 0.0 else float(np.polyfit(t, e, 1)[0])


def _measured(plain: Line, other: Line) -> tuple[float | None, tuple[float, float] | None]:
    """Return the last time at which the uncached curve crosses to below the other, and the range that both curves cover.

    Between measured points, curves are straight lines in log-log.
    """
    lines = []
    for costs, errors in (plain, other):
        points = [(t, e) for t, e in zip(costs, errors, strict=True) if t > 0.0 and e > 0.0]
        if len(points) < 2:
            return None, None
        lines.append(np.log(np.array(points)).T)
    low, high = max(line[0][0] for line in lines), min(line[0][-1] for line in lines)
    if low >= high:
        return None, None
    times = np.unique(np.concatenate([np.clip(line[0], low, high) for line in lines]))
    lead = np.interp(times, *lines[0]) - np.interp(times, *lines[1])
    crossing = None
    for i in range(len(times) - 1):
        if lead[i] > 0.0 >= lead[i + 1]:
            share = lead[i] / (lead[i] - lead[i + 1])
            crossing = float(np.exp(times[i] + share * (times[i + 1] - times[i])))
    return crossing, (float(np.exp(low)), float(np.exp(high)))


def _time(seconds: float) -> str:
    """Format a time with a unit that suits it."""
    for least, size, unit in ((86400.0, 86400.0, "days"), (3600.0, 3600.0, "h"), (120.0, 60.0, "min")):
        if seconds >= least:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
