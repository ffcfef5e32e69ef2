"""The tables of the terminal and of the report, and the contents of `metrics.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nrc_tracer.files.json_data import json_data
from nrc_tracer.report.measure import Measured, Result
from nrc_tracer.report.settings import Budget, Setting

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    ("setting", "How the image was rendered"),
    ("spp", "Samples per pixel"),
    ("time", "Time of rendering, including warm-up and training of the cache"),
    ("relMSE", "Relative squared error over all pixels; in brackets, how many times smaller it is than uncached"),
    (
        "8 x 8",
        "RMS relative error of the means of blocks of 8 x 8 pixels, in which little noise hides errors of the light",
    ),
    ("32 x 32", "RMS relative error of the means of blocks of 32 x 32 pixels"),
    ("mean", "Mean of the image divided by the mean of the reference"),
    ("bias\u00b2", "Squared bias with its standard error: the part of the error that more samples do not reduce"),
    ("variance", "The part of the error that more samples reduce"),
)
"""Names of the columns on errors, and what they hold."""

DETAILS = (
    COLUMNS[0],
    ("trimmed", "relMSE without the worst 0.1 % of the pixels"),
    ("16 x 16", "RMS relative error of the means of blocks of 16 x 16 pixels"),
    ("PSNR", "PSNR of the tone-mapped image [dB]; higher is better"),
    ("FLIP", "HDR-FLIP of the first seed; lower is better"),
    ("SSIM", "SSIM of the tone-mapped image; 1 is best"),
    ("samples/s", "Samples of all pixels per second"),
    ("path", "Mean length of a path"),
    ("trace/query/train", "Fractions of the time for tracing, queries and training"),
)
"""Names of the columns on other measures and on costs, and what they hold."""


def rows(measured: Measured, settings: Sequence[Setting], budget: Budget) -> list[tuple[str, ...]]:
    """Return the cells of a budget's table, one row per setting, in the order of `COLUMNS`."""
    plain = measured.result(settings[0], budget)
    return [_row(measured.result(setting, budget), plain) for setting in settings]


def details(measured: Measured, settings: Sequence[Setting], budget: Budget) -> list[tuple[str, ...]]:
    """Return the cells of a budget's second table, one row per setting, in the order of `DETAILS`."""
    return [_detail_row(measured.result(setting, budget)) for setting in settings]


def known_columns(cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the indices of the columns that have a value in any row."""
    return [i for i in range(len(cells[0])) if any(row[i] != "-" for row in cells)]


def terminal_tables(measured: Measured, settings: Sequence[Setting], budgets: Sequence[Budget]) -> list[Table]:
    """Return two tables per budget for a terminal, errors and details, without columns that have no values."""
    from rich.markup import escape
    from rich.table import Table

    tables = []
    for budget in budgets:
        kind = "equal samples" if budget.kind == "samples" else "equal time"
        parts = ((COLUMNS, rows, f"{kind}: {budget.name}"), (DETAILS, details, None))
        for columns, cells_of, title in parts:
            cells = cells_of(measured, settings, budget)
            kept = known_columns(cells)
            table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
            for i in kept:
                table.add_column(
                    columns[i][0], justify="left" if i == 0 else "right", header_style="bold", no_wrap=True
                )
            for row in cells:
                table.add_row(*(escape(row[i]) for i in kept))
            tables.append(table)
    return tables


def as_document(measured: Measured) -> dict[str, Any]:
    """Return all numbers as JSON data, in which infinities and NaN are null."""
    results = []
    for result in measured.results:
        values = dataclasses.asdict(result)
        values["setting"], values["budget"] = dataclasses.asdict(result.setting), dataclasses.asdict(result.budget)
        values["budget"]["name"] = result.budget.name
        results.append(values)
    curves = [{**dataclasses.asdict(curve), "setting": curve.setting.name} for curve in measured.curves]
    crossings = [
        {**dataclasses.asdict(crossing), "setting": crossing.setting.name, "words": crossing.words}
        for crossing in measured.crossings
    ]
    return json_data({"results": results, "curves": curves, "crossings": crossings})


def _row(result: Result, plain: Result) -> tuple[str, ...]:
    """Return the cells of a row; `plain` is the result that it is compared with."""
    ratio = plain.rel_mse / result.rel_mse if result.rel_mse > 0.0 else math.nan
    times = f" ({ratio:.2g}x)" if result is not plain and math.isfinite(ratio) else ""
    return (
        result.setting.name,
        f"{result.samples:.4g}",
        f"{result.seconds:.3g} s",
        f"{result.rel_mse:.3g}{times}",
        f"{100 * result.block_error_8:.3g} %",
        f"{100 * result.block_error_32:.3g} %",
        _number(result.mean, ".3f"),
        f"{result.squared_bias:.2g} \u00b1 {result.squared_bias_error:.1g}",
        f"{result.variance:.3g}",
    )


def _detail_row(result: Result) -> tuple[str, ...]:
    """Return the cells of a row of the second table."""
    shares = [result.shares.get(name) for name in ("trace", "query", "train")]
    known = any(share is not None for share in shares)
    return (
        result.setting.name,
        f"{result.rel_mse_trimmed:.3g}",
        f"{100 * result.block_error:.3g} %",
        _number(result.psnr, ".2f"),
        _number(result.flip, ".4f"),
        _number(result.ssim, ".4f"),
        _rate(result.samples_per_second),
        "-" if result.path_length is None else f"{result.path_length:.3g}",
        "/".join(f"{100 * (share or 0.0):.0f}" for share in shares) + " %" if known else "-",
    )


def _number(value: float, form: str) -> str:
    if math.isnan(value):
        return "-"
    return "inf" if math.isinf(value) else f"{value:{form}}"


def _rate(value: float) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"
