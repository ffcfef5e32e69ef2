"""The figures of the report, drawn by matplotlib as PNG files: for light pages and papers, and for dark pages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nrc_tracer.errors import NrcError, one_line
from nrc_tracer.report.measure import Measured
from nrc_tracer.report.pictures import BIAS_COLORS, BIAS_RANGE, ERROR_COLORS, ERROR_RANGE
from nrc_tracer.report.settings import Budget, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can distinguish, in an order that suits both backgrounds
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = "osD^vPX"
LINES = ("solid", "dashed", "dashdot")
"""Styles of lines: another one for every seven curves, whose colours repeat."""
INK = {"light": "#1c1c1e", "dark": "#e6e6ea"}
GROUND = {"light": "#ffffff", "dark": "#1b1d22"}
THEMES = ("light", "dark")
PAGE_WIDTH = 11.5
"""Width of figures that fill a page [inches]."""
DOTS_PER_INCH = 160


def check_figures() -> None:
    """Check, before the work of a long study, that matplotlib is installed. Raises `NrcError`."""
    try:
        import matplotlib  # noqa: F401
    except (ImportError, OSError) as error:
        raise NrcError(
            f"matplotlib cannot be loaded ({one_line(error)}); pip install 'nrc-tracer[report]' installs it"
        ) from error


def convergence(measured: Measured, *, theme: str = "light") -> bytes:
    """Draw relMSE over time and over samples, log-log, with slopes; return a PNG file."""
    crowded = len(measured.curves) > 5  # the legend would hide the curves
    figure, (left, right) = _figure(theme, (10.0, 4.2 + (0.25 * len(measured.curves) if crowded else 0.0)), columns=2)
    for number, curve in enumerate(measured.curves):
        style = {"color": COLORS[number % 7], "marker": MARKERS[number % 7], "markersize": 4, "linewidth": 1.6}
        style["linestyle"] = LINES[number // 7 % len(LINES)]
        ending = "" if curve.slope is None else f"  (slope {curve.slope:.2f})"
        for axes, values in ((left, curve.seconds), (right, curve.samples)):
            points = [(x, y) for x, y in zip(values, curve.errors, strict=True) if x > 0 and y > 0]
            if points:
                axes.plot(*np.array(points).T, label=curve.setting.name + (ending if axes is right else ""), **style)
    for axes, name in ((left, "time [s], including warm-up and training"), (right, "samples per pixel")):
        axes.set(xscale="log", yscale="log", xlabel=name)
        _log_ticks(axes)
        _guide(axes, theme)
        if axes.get_legend_handles_labels()[0] and not crowded:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK[theme], loc="best")
    left.set_ylabel("relMSE")
    if crowded:
        entries = right.get_legend_handles_labels()
        figure.legend(*entries, loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK[theme])
    return _png(figure)


def parts(measured: Measured, settings: Sequence[Setting], budgets: Sequence[Budget], *, theme: str = "light") -> bytes:
    """Draw squared bias and variance of every setting side by side, one panel per budget; return a PNG file.

    Panels are as wide as their settings need, with as many in a row as fit a page.
    """
    width = max(3.6, 1.1 * len(settings))
    columns = min(len(budgets), max(1, int(PAGE_WIDTH // width)))
    rows = -(-len(budgets) // columns)
    figure, panels = _figure(
        theme, (max(4.8, width * columns), 3.2 * rows + 0.4), columns=columns, rows=rows, share_y=True
    )
    panels = np.atleast_1d(panels).ravel()
    for empty in panels[len(budgets) :]:
        empty.set_axis_off()
    panels = panels[: len(budgets)]
    smallest = min((r.variance for r in measured.results if r.variance > 0), default=1e-6) / 100.0
    place = np.arange(len(settings))
    for axes, budget in zip(panels, budgets, strict=True):
        results = [measured.result(setting, budget) for setting in settings]
        axes.bar(place - 0.2, [r.variance for r in results], 0.38, label="variance", color=COLORS[0])
        biases = [max(r.squared_bias, smallest) for r in results]
        above = [2.0 * r.squared_bias_error for r in results]
        below = [
            bias - max(r.squared_bias - 2.0 * r.squared_bias_error, smallest)
            for bias, r in zip(biases, results, strict=True)
        ]
        axes.bar(place + 0.2, biases, 0.38, label="squared bias (2 standard errors)", color=COLORS[1])
        finite = [np.isfinite(error) for error in above]
        error = np.array([np.maximum(np.where(finite, below, 0.0), 0.0), np.where(finite, above, 0.0)])
        axes.errorbar(place + 0.2, biases, yerr=error, fmt="none", ecolor=INK[theme], elinewidth=1, capsize=3)
        axes.set_yscale("log")
        axes.set_title(budget.name, fontsize=10, color=INK[theme])
        axes.set_xticks(place, [s.name.replace(", ", ",\n") for s in settings], fontsize=8)
    tallest = max((max(r.variance, r.squared_bias) for r in measured.results), default=1.0)
    panels[0].set_ylim(smallest, max(2.0 * tallest, 10.0 * smallest))
    for first in panels[::columns]:
        first.set_ylabel("relative squared error")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=INK[theme],
    )
    return _png(figure)


def legend(kind: str, *, theme: str = "light") -> bytes:
    """Draw the colour scale of the error maps (`error`) or of the bias maps (`bias`); return a PNG file."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    figure, axes = _figure(theme, (4.2, 0.75))
    norm: Normalize
    if kind == "error":
        norm, colors, name = LogNorm(*ERROR_RANGE), ERROR_COLORS, "relative error of a pixel"
        ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0) if ERROR_RANGE[0] <= tick <= ERROR_RANGE[1]]
    else:
        norm, colors, name = (
            Normalize(-BIAS_RANGE, BIAS_RANGE),
            BIAS_COLORS,
            "mean of all seeds: too dark to too bright",
        )
        ticks = [-BIAS_RANGE, -BIAS_RANGE / 2, 0.0, BIAS_RANGE / 2, BIAS_RANGE]
    bar = figure.colorbar(ScalarMappable(norm, colormaps[colors]), cax=axes, orientation="horizontal")
    bar.ax.minorticks_off()
    sign = "+" if kind == "bias" else ""
    bar.set_ticks(ticks, labels=[f"{100 * tick:{sign}.0f} %" for tick in ticks])
    bar.ax.tick_params(colors=INK[theme], labelsize=8)
    bar.set_label(name, color=INK[theme], fontsize=8)
    bar.outline.set_visible(False)
    return _png(figure)


def gallery(rows: Sequence[tuple[str, Sequence[tuple[str, np.ndarray | None]]]], *, theme: str = "light") -> bytes:
    """Draw images in a grid; return a PNG file.

    Args:
        rows: The name of each row, and its images with their titles; None leaves a place empty.
        theme: `light` or `dark`.
    """
    columns = max(len(pictures) for _, pictures in rows)
    shape = next(picture.shape for _, pictures in rows for _, picture in pictures if picture is not None)
    cell = 2.6
    figure, grid = _figure(
        theme, (cell * columns, (cell * shape[0] / shape[1] + 0.3) * len(rows)), columns=columns, rows=len(rows)
    )
    grid = np.reshape(grid, (len(rows), columns))
    for panels, (row, pictures) in zip(grid, rows, strict=True):
        for axes in panels:
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
        panels[0].set_ylabel(row, fontsize=9, color=INK[theme])
        for axes, (title, picture) in zip(panels, pictures, strict=False):
            axes.set_title(title, fontsize=9, color=INK[theme])
            if picture is not None:
                axes.imshow(picture, interpolation="nearest" if shape[1] < 300 else "antialiased")
    return _png(figure)


def _figure(
    theme: str, size: tuple[float, float], *, columns: int = 1, rows: int = 1, share_y: bool = False
) -> tuple[Figure, Any]:
    """Return a figure that belongs to no display and no global state, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained", facecolor=GROUND[theme])
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharey=share_y)
    for one in np.atleast_1d(axes).flat:
        one.set_facecolor(GROUND[theme])
        one.tick_params(colors=INK[theme], which="both", labelsize=8)
        one.xaxis.label.set_color(INK[theme])
        one.yaxis.label.set_color(INK[theme])
        for side, spine in one.spines.items():
            spine.set_color(INK[theme])
            spine.set_alpha(0.5)
            spine.set_visible(side in ("left", "bottom"))
    return figure, axes


def _log_ticks(axes: Axes) -> None:
    """Label powers of ten, and values in between if a scale covers less than two and a half decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        decades = np.log10(max(high, 1e-300) / max(low, 1e-300))
        axis.set_major_locator(LogLocator(10.0, subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _guide(axes: Axes, theme: str) -> None:
    """Draw a grid, and a line of slope -1, with which noise falls."""
    axes.grid(True, which="major", color=INK[theme], alpha=0.13, linewidth=0.7)
    lines = [np.asarray(line.get_xydata()) for line in axes.get_lines()]
    if not lines:
        return
    points = np.concatenate(lines)
    x = np.array([points[:, 0].min(), points[:, 0].max()])
    low, high = axes.get_ylim()
    start = points[points[:, 0].argmin(), 1]
    axes.plot(x, start * x[0] / x, linestyle=":", linewidth=1, color=INK[theme], alpha=0.6, label="slope -1")
    axes.set_ylim(low, high)


def _png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=figure.get_facecolor())
    return file.getvalue()
