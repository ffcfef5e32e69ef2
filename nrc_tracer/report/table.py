"""The terminal's table, the report's table and `metrics.json`: the same numbers in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nrc_tracer.report.measure import Measured, Result
from nrc_tracer.report.settings import Budget, Setting

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    ("setting", "What was rendered"),
    ("spp", "Samples per pixel"),
    ("time", "Seconds, warm-up and training included"),
    ("relMSE", "Relative squared error, untrimmed, and how many times less than uncached"),
    ("trimmed", "relMSE without the worst 0.1 % of the pixels"),
    ("bias\u00b2", "Squared bias, with its standard error: what more samples do not mend"),
    ("variance", "What more samples mend"),
    ("mean", "Mean of the image over the mean of the reference"),
    ("blocks", "RMS relative error of the means of 16 x 16 blocks"),
    ("PSNR", "Of the tone-mapped image [dB], higher is better"),
    ("FLIP", "HDR-FLIP of the first seed, lower is better"),
    ("SSIM", "Of the tone-mapped image, 1 is best"),
    ("samples/s", "Of all pixels"),
    ("path", "Mean length of a path"),
    ("trace/query/train", "Shares of the time"),
)


def rows(measured: Measured, settings: Sequence[Setting], budget: Budget) -> list[tuple[str, ...]]:
    """Return the cells of a budget's table, one row a setting, in the order of `COLUMNS`."""
    plain = measured.result(settings[0], budget)
    return [_row(measured.result(setting, budget), plain) for setting in settings]


def terminal_tables(measured: Measured, settings: Sequence[Setting], budgets: Sequence[Budget]) -> list[Table]:
    """Return a table a budget, for a terminal; columns of which nothing is known are left out."""
    from rich.markup import escape
    from rich.table import Table

    tables = []
    for budget in budgets:
        cells = rows(measured, settings, budget)
        kept = [i for i in range(len(COLUMNS)) if any(row[i] != "-" for row in cells)]
        kind = "equal samples" if budget.kind == "samples" else "equal time"
        table = Table(title=f"{kind}: {budget.name}", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for i in kept:
            table.add_column(COLUMNS[i][0], justify="left" if i == 0 else "right", header_style="bold", no_wrap=True)
        for row in cells:
            table.add_row(*(escape(row[i]) for i in kept))
        tables.append(table)
    return tables


def as_document(measured: Measured) -> dict[str, Any]:
    """Return all numbers as plain data for JSON; what is not finite is null."""
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
    return finite({"results": results, "curves": curves, "crossings": crossings})


def finite(value: Any) -> Any:
    """Return the value with null in place of numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _row(result: Result, plain: Result) -> tuple[str, ...]:
    ratio = plain.rel_mse / result.rel_mse if result.rel_mse > 0.0 else math.nan
    times = f" ({ratio:.2g}x)" if result is not plain and math.isfinite(ratio) else ""
    shares = [result.shares.get(name) for name in ("trace", "query", "train")]
    known = any(share is not None for share in shares)
    return (
        result.setting.name,
        f"{result.samples:.4g}",
        f"{result.seconds:.3g} s",
        f"{result.rel_mse:.3g}{times}",
        f"{result.rel_mse_trimmed:.3g}",
        f"{result.squared_bias:.2g} \u00b1 {result.squared_bias_error:.1g}",
        f"{result.variance:.3g}",
        _number(result.mean, ".3f"),
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
