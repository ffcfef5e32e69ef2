"""The report as one HTML file that contains its styles, script and pictures and loads nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from nrc_tracer.report.bias_table import bias_maps, bias_table
from nrc_tracer.report.measure import Measured
from nrc_tracer.report.pictures import Crop, data_uri, png_width
from nrc_tracer.report.settings import Budget, Setting
from nrc_tracer.report.table import COLUMNS, DETAILS, details, known_columns, rows

PIXELS_PER_POINT = 1.6
"""Pixels of a figure per CSS pixel at its largest: figures are drawn for displays with more than one."""

Themed = dict[str, bytes]
"""A figure's PNG files by theme, `light` and `dark`."""


@dataclass(frozen=True)
class CaptionedImage:
    """An image of the report.

    Attributes:
        name: Setting and budget of the image.
        png: Contents of a PNG file.
        caption: Text below the image.
    """

    name: str
    png: bytes
    caption: str = ""


@dataclass(frozen=True)
class Page:
    """The contents of the report.

    Attributes:
        title: Name of the scene.
        facts: Names and values of facts, such as the size.
        answers: Results, a sentence each; they are shown first.
        warnings: Warnings about the results.
        measured: The numbers.
        settings: The settings in the order of tables; the others are compared with the first.
        budgets: The budgets in the order of tables.
        shown: The budgets whose images and biases are shown.
        width: Width of the images [pixels].
        height: Height of the images [pixels].
        pictures: The reference, then the rendered images.
        wiped: Indices of the two images that are compared by wiping at first.
        crops: Places for close-ups.
        errors: Error maps.
        biases: Maps of the mean error of all seeds.
        figures: `convergence`, `parts`, `error legend` and `bias legend`.
        notes: How the report was made, a paragraph each.
        data: Contents of metrics.json, shown in a folded block.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    answers: Sequence[str]
    warnings: Sequence[str]
    measured: Measured
    settings: Sequence[Setting]
    budgets: Sequence[Budget]
    shown: Sequence[Budget]
    width: int
    height: int
    pictures: Sequence[CaptionedImage]
    wiped: tuple[int, int]
    crops: Sequence[Crop]
    errors: Sequence[CaptionedImage]
    biases: Sequence[CaptionedImage]
    figures: dict[str, Themed]
    notes: Sequence[str]
    data: dict[str, object]


def write_page(page: Page) -> str:
    """Return the report as HTML."""
    assets = resources.files("nrc_tracer.report")
    style, script = (assets.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    facts = "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in page.facts)
    answers = "".join(f"<li>{escape(answer)}</li>" for answer in page.answers)
    warnings = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in page.warnings)
    body = [
        f"<h1>{escape(page.title)}</h1>",
        f'<ul class="facts">{facts}</ul>',
        f'<ul class="answers">{answers}</ul>' if answers else "",
        warnings,
        _stage(page),
        "<h2>Numbers</h2>",
        *(_table(page, budget) for budget in page.budgets),
        "<h2>Convergence</h2>",
        "<p>One long run of each setting. The noise of independent samples falls with slope -1 (dotted); bias flattens a curve."
        "</p>",
        _themed(page.figures["convergence"], "relMSE over time and over samples"),
        "<h2>Bias and variance</h2>",
        _themed(page.figures["parts"], "Squared bias and variance of each setting"),
        "<p>How much too bright (+) or too dark (-) the mean over all seeds is, with its standard error: the whole image by "
        "channel, then each region. Coloured regions differ from the reference by more than two standard errors, red ones are "
        "too bright; the deepest colours stand for 10 % and more.</p>",
        bias_table(page.measured, page.settings, page.shown),
        bias_maps(page.measured, page.settings, page.shown),
        "<h2>Errors</h2>",
        "<p>The relative error of each pixel, with the same scale for all images.</p>",
        _themed(page.figures["error legend"], "Colour scale of the error maps", "legend"),
        _grid(page.errors, "error"),
        "<p>The error of the mean over all seeds: where an image is too dark (blue) or too bright (red) on average.</p>",
        _themed(page.figures["bias legend"], "Colour scale of the bias maps", "legend"),
        _grid(page.biases, "bias"),
        "<h2>Images</h2>",
        "<p>All images have the same exposure.</p>",
        _grid(page.pictures, "image"),
        "<h2>How this was made</h2>",
        *(f"<p>{escape(note)}</p>" for note in page.notes),
        f"<details><summary>metrics.json</summary><pre>{escape(json.dumps(page.data, indent=1))}</pre></details>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(page.title)}: comparison</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + f'\n<script type="application/json" id="data">{_script_data(page)}</script>\n'
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _script_data(page: Page) -> str:
    """Return the data of the script as JSON that cannot end its element."""
    data = {
        "width": page.width,
        "height": page.height,
        "images": [{"id": f"image-{i}", "name": picture.name} for i, picture in enumerate(page.pictures)],
        "left": page.wiped[0],
        "right": page.wiped[1],
        "crops": [{"x": crop.x, "y": crop.y, "side": crop.side} for crop in page.crops],
    }
    return json.dumps(data).replace("<", "\\u003c")


def _stage(page: Page) -> str:
    """Return the part of the page in which two images are compared, and the close-ups."""
    places = ['<button type="button" data-place="" aria-pressed="true">whole image</button>']
    for i, crop in enumerate(page.crops):
        places.append(f'<button type="button" data-place="{i}" aria-pressed="false">{escape(crop.name)}</button>')
    crops = []
    for i, crop in enumerate(page.crops):
        cells = "".join(
            f'<button type="button" title="Compare with the reference"><canvas data-crop="{i}" data-image="{j}"></canvas>'
            f"{escape(picture.name)}</button>"
            for j, picture in enumerate(page.pictures)
        )
        crops.append(f'<h3>{escape(crop.name)}</h3><div class="row">{cells}</div>')
    return f"""<h2>Compare</h2>
<noscript><p>Wiping needs JavaScript; all images are shown below.</p></noscript>
<div class="stage">
<div class="bar">
<label>left <select id="left"></select></label>
<button type="button" id="swap" aria-label="Swap left and right">&#8646;</button>
<label>right <select id="right"></select></label>
<button type="button" id="closer" aria-label="Zoom in">+</button>
<button type="button" id="farther" aria-label="Zoom out">&minus;</button>
<span class="soft" id="zoom"></span>
</div>
<canvas id="stage"></canvas>
<div class="bar"><label class="grow">wipe <input type="range" id="wipe" min="0" max="1000" value="500"></label>
{"".join(places)}</div>
</div>
{"<h2>Close-ups</h2><p>Select one to compare it with the reference above.</p>" if crops else ""}
<div class="crops">{"".join(crops)}</div>"""


def _table(page: Page, budget: Budget) -> str:
    """Return the tables of a budget, errors and details; the smallest relMSE is marked."""
    results = [page.measured.result(setting, budget) for setting in page.settings]
    best = min(range(len(results)), key=lambda i: results[i].rel_mse)
    errors = _cells(COLUMNS, rows(page.measured, page.settings, budget), (best, "relMSE"))
    rest = _cells(DETAILS, details(page.measured, page.settings, budget))
    kind = "Equal samples" if budget.kind == "samples" else "Equal time"
    return f"<h3>{kind}: {escape(budget.name)}</h3>{errors}<details><summary>Other measures, and costs</summary>{rest}</details>"


def _cells(
    columns: Sequence[tuple[str, str]], cells: Sequence[Sequence[str]], best: tuple[int, str] | None = None
) -> str:
    """Return a table without columns that have no values; `best` is the row and the column of a cell to be marked."""
    kept = known_columns(cells)
    head = "".join(f'<th title="{escape(columns[i][1])}">{escape(columns[i][0])}</th>' for i in kept)
    lines = []
    for number, row in enumerate(cells):
        marked = [' class="best"' if (number, columns[i][0]) == best else "" for i in kept]
        lines.append("".join(f"<td{mark}>{escape(row[i])}</td>" for mark, i in zip(marked, kept, strict=True)))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _themed(files: Themed, words: str, kind: str = "") -> str:
    """Return a figure in the theme of the reader's browser."""
    size = f' style="max-width:{png_width(files["light"]) / PIXELS_PER_POINT:.0f}px"'
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(files["dark"])}">'
    mark = f' class="{kind}"' if kind else ""
    return f'<picture{mark}{size}>{dark}<img{mark} src="{data_uri(files["light"])}" alt="{escape(words)}"></picture>'


def _grid(pictures: Sequence[CaptionedImage], kind: str) -> str:
    """Return images with captions, side by side."""
    cells = []
    for i, picture in enumerate(pictures):
        caption = f"{escape(picture.name)}{f'<br>{escape(picture.caption)}' if picture.caption else ''}"
        image = f'<img id="{kind}-{i}" src="{data_uri(picture.png)}" alt="{escape(picture.name)}">'
        cells.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="grid">{"".join(cells)}</div>'
