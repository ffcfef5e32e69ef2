"""Plots over time of what is known about a page's pictures."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np
import viser
from viser import uplot

from nrc_tracer.live.picture import Picture

MOST_POINTS = 600
"""Largest number of points of a plot. When there are more, every second one is dropped."""

REFRESH_SECONDS = 0.5
"""Shortest time between two updates of a plot [s]."""

PLOTTED = ("noise", "bias", "loss", "PSNR", "IoU")
"""Names of the statistics that are plotted, if a world has them."""

COLORS = {"noise": "#4dabf7", "bias": "#ffa94d", "loss": "#ff6b6b", "PSNR": "#69db7c", "IoU": "#b197fc"}


class History:
    """Values of a statistic over time, at most `MOST_POINTS` of them, evenly thinned."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()
        self._stride = self._skipped = 1

    def add(self, seconds: float, value: float) -> None:
        """Add a value at a time [s]."""
        if self._skipped < self._stride:
            self._skipped += 1
            return
        self._skipped = 1
        self._points.append((seconds, value))
        if len(self._points) > MOST_POINTS:
            self._points = deque(list(self._points)[::2])
            self._stride *= 2

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Times [s] and values, float64."""
        times, values = np.array(self._points, np.float64).reshape(-1, 2).T
        return np.ascontiguousarray(times), np.ascontiguousarray(values)


class Plots:
    """The plots of one page, each of which appears with its first value.

    Args:
        client: viser's handle of the page.
        folder: Where the plots go.
        now: The clock [s].
    """

    def __init__(
        self, client: viser.ClientHandle, folder: viser.GuiFolderHandle, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._gui, self._folder, self._now = client.gui, folder, now
        self._start = now()
        self._told: dict[str, float] = {}
        self._histories: dict[str, History] = {}
        self._plots: dict[str, viser.GuiUplotHandle] = {}

    def add(self, picture: Picture) -> None:
        """Take note of the statistics of a picture."""
        now = self._now()
        for name in PLOTTED:
            statistic = picture.statistics.get(name)
            if statistic is None or statistic.value is None:
                continue
            history = self._histories.setdefault(name, History())
            history.add(now - self._start, statistic.value)
            if now - self._told.get(name, -1e9) >= REFRESH_SECONDS:
                self._told[name] = now
                self._show(name, statistic.unit, history)

    def _show(self, name: str, unit: str, history: History) -> None:
        data = history.arrays()
        if name in self._plots:
            self._plots[name].data = data
        elif len(data[0]) > 1:
            label = f"{name} ({unit})" if unit else name
            series = (uplot.Series(label="time (s)"), uplot.Series(label=label, stroke=COLORS[name], width=2))
            with self._folder:
                self._plots[name] = self._gui.add_uplot(
                    data, series, scales={"x": uplot.Scale(time=False)}, aspect=2.2, title=label
                )
