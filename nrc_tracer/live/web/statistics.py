"""What a page shows about its pictures: numbers with units."""

from __future__ import annotations

import html
import time
from collections import deque
from collections.abc import Callable, Mapping

from nrc_tracer.live.picture import Picture, Statistic

_TABLE = "width:100%;font-size:.8em;border-spacing:0"

SECONDS = 2.0
"""Time over which frames are counted [s]."""


class FrameRate:
    """Counts frames.

    Args:
        now: The clock [s].
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._times = now, deque[float](maxlen=1000)

    def count(self) -> None:
        """Count a frame."""
        self._times.append(self._now())

    def per_second(self) -> float:
        """Frames per second lately."""
        now = self._now()
        recent = [moment for moment in self._times if now - moment <= SECONDS]
        if len(recent) < 2:
            return len(recent) / SECONDS
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-3)


def statistics_html(picture: Picture, frames_per_second: float, encode_ms: float) -> str:
    """A table of what is known about a picture."""
    height, width = picture.pixels.shape[:2]
    rows = [("size", f"{width} × {height} pixels"), ("frames", f"{frames_per_second:.1f} per second")]
    rows += [(name, _written(statistic)) for name, statistic in _sorted(picture.statistics).items()]
    if not any(name == "samples" for name in picture.statistics):
        rows.insert(1, ("samples", f"{picture.samples} per pixel"))
    stages = {**picture.stage_times, "encode": encode_ms}
    rows += [(name, f"{ms:.1f} ms") for name, ms in stages.items()]
    cells = "".join(
        f'<tr><td style="opacity:.65;padding:0 .8em 0 0">{html.escape(name)}</td>'
        f'<td style="text-align:right;font-variant-numeric:tabular-nums">{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<div style="padding:.2em .9em .5em"><table class="nrc-statistics" style="{_TABLE}">{cells}</table></div>'


def _sorted(statistics: Mapping[str, Statistic]) -> dict[str, Statistic]:
    """Samples first."""
    return dict(sorted(statistics.items(), key=lambda item: item[0] != "samples"))


def _written(statistic: Statistic) -> str:
    if statistic.value is None:
        return "not known yet"
    is_whole = float(statistic.value).is_integer() and abs(statistic.value) < 1e9
    number = f"{statistic.value:,.0f}" if is_whole else f"{statistic.value:.3g}"
    return f"{number} {statistic.unit}".strip()
