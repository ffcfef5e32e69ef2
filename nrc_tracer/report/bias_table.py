"""The biases of settings as HTML: a table of the channels, and maps of the regions, before and after the correction of images."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nrc_tracer.report.bias import Bias, significant_errors
from nrc_tracer.report.measure import Measured
from nrc_tracer.report.pictures import REGION_RANGE, region_color
from nrc_tracer.report.settings import Budget, Setting

BEFORE = ", before correction"


def named_biases(measured: Measured, setting: Setting, budget: Budget) -> list[tuple[str, Bias]]:
    """Return the biases of a setting at a budget with their names: before the correction, if there is one, and of the image."""
    result = measured.result(setting, budget)
    before = [] if result.uncorrected_bias is None else [(setting.name + BEFORE, result.uncorrected_bias)]
    return [*before, (setting.name, result.bias)]


def bias_table(measured: Measured, settings: Sequence[Setting], budgets: Sequence[Budget]) -> str:
    """Return the table of biases by channel."""
    lines = []
    for budget in budgets:
        for setting in settings:
            for name, bias in named_biases(measured, setting, budget):
                values = zip(bias.channels, bias.channel_errors, strict=True)
                cells = "".join("<td>{} \u00b1 {} %</td>".format(*_percent(value, error)) for value, error in values)
                lines.append(f"<tr><td>{escape(name)}</td><td>{escape(budget.name)}</td>{cells}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("setting", "budget", "red", "green", "blue"))
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table class="narrow">{body}</table></div>'


def bias_maps(measured: Measured, settings: Sequence[Setting], budgets: Sequence[Budget]) -> str:
    """Return maps of the regions' biases [%] with their standard errors, side by side."""
    maps = [
        f"<figure>{_map(bias)}<figcaption>{escape(name)}, {escape(budget.name)}: bias and standard error of regions of "
        f"{bias.side} x {bias.side} pixels [%]</figcaption></figure>"
        for budget in budgets
        for setting in settings
        for name, bias in named_biases(measured, setting, budget)
    ]
    return f'<div class="maps">{"".join(maps)}</div>'


def _map(bias: Bias) -> str:
    threshold, rows = significant_errors(bias.seeds), []
    for values, errors in zip(bias.regions, bias.region_errors, strict=True):
        cells = []
        for value, error in zip(values, errors, strict=True):
            style = ""
            if abs(value) > threshold * error:
                ink = "#fff" if abs(value) > 0.6 * REGION_RANGE else "#1c1c1e"
                style = f' style="background:{region_color(value)};color:{ink}"'
            cells.append("<td{}>{}<br>\u00b1{}</td>".format(style, *_percent(value, error)))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table class="map"><tbody>{"".join(rows)}</tbody></table>'


def _percent(value: float, error: float) -> tuple[str, str]:
    """Return a bias and its standard error in percent, with as many digits as the error allows."""
    digits = 0 if error >= 0.0995 else 1 if error >= 0.00095 else 2
    return f"{100.0 * value:+.{digits}f}", f"{100.0 * error:.{digits}f}"
