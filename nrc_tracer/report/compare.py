"""The files of a report: metrics, figures, images and the HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nrc_tracer.errors import OutputError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.files.json_data import json_data
from nrc_tracer.imaging import write_image
from nrc_tracer.report import figures
from nrc_tracer.report.bias import significant_errors
from nrc_tracer.report.html import CaptionedImage, Page, write_page
from nrc_tracer.report.measure import Look, Measured, Result
from nrc_tracer.report.pictures import bias_map, choose_crops, encode_png, error_map
from nrc_tracer.report.references import Reference
from nrc_tracer.report.settings import Budget, Setting
from nrc_tracer.report.study import Say, Shots, silent
from nrc_tracer.report.table import as_document
from nrc_tracer.version import __version__


@dataclass(frozen=True)
class Circumstances:
    """How the images of a report were made.

    Attributes:
        scene: File of the scene.
        device: Name of the device, and what intersects rays with triangles on it.
        sampler: `sobol` or `independent`.
        max_depth: Segments of the longest path, -1 without limit.
        seeds: Number of images per setting and budget.
        options: Settings of the cache that were given, such as its spread.
        warnings: Warnings about the results.
    """

    scene: str
    device: str
    sampler: str
    max_depth: int
    seeds: int
    options: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def prepare_folder(folder: Path) -> None:
    """Make the folder of a report and check that it can be written to. Raises `OutputError`."""
    try:
        for place in (folder, folder / "figures", folder / "images"):
            place.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{folder}: cannot be made: {reason}; choose another folder with --output") from error
    with replacing(folder / "report.html", keep=False) as temporary:
        temporary.touch()


def document(measured: Measured, reference: Reference, about: Circumstances, shots: Shots) -> dict[str, Any]:
    """Return the contents of metrics.json."""
    height, width = reference.first.shape[:2]
    reports = [
        {"setting": setting.name, "budget": budget.name, "seed": images[0].seed, "report": images[0].cache}
        for (setting, budget), images in shots.images.items()
        if images[0].cache
    ]
    return json_data(
        {
            "scene": about.scene,
            "width": width,
            "height": height,
            "device": about.device,
            "sampler": about.sampler,
            "max_depth": about.max_depth,
            "seeds": about.seeds,
            "options": about.options,
            "release": __version__,
            "reference": {
                "error": reference.error,
                "samples": list(reference.samples),
                "independent": reference.second is not None,
                "files": list(reference.source),
                "reused": reference.reused,
                "nodes": list(reference.nodes),
            },
            **as_document(measured),
            "reports": reports,
            "warnings": list(about.warnings),
        }
    )


def write_report(
    folder: Path,
    shots: Shots,
    measured: Measured,
    reference: Reference,
    look: Look,
    about: Circumstances,
    *,
    say: Say = silent,
) -> dict[str, Any]:
    """Write metrics.json, report.html, figures/*.png and images/*.exr; return the contents of metrics.json.

    Args:
        folder: Folder that `prepare_folder` has made.
        shots: The images.
        measured: The numbers.
        reference: The image that others are compared with.
        look: Tone mapping of the pictures.
        about: How the images were made.
        say: Shows what is being done.

    Raises:
        OutputError: A file cannot be written.
    """
    say("writing the report", 1.0)
    summary = answers(measured, shots.settings, shots.budgets)
    data = document(measured, reference, about, shots) | {"summary": summary}
    _write(folder / "metrics.json", (json.dumps(data, indent=1) + "\n").encode())
    clean, settings = reference.mean, shots.settings
    shown = [
        (setting, budget, shots.images[setting, budget])
        for budget in shown_budgets(shots.budgets)
        for setting in settings
    ]
    write_image(folder / "images" / "reference.exr", clean)
    for (setting, budget), images in shots.images.items():
        write_image(folder / "images" / f"{_file_name(setting, budget)}.exr", images[0].rgb)

    pictures, errors, biases = [CaptionedImage("reference", encode_png(look(clean)))], [], []
    panels: dict[str, dict[str, list[tuple[str, np.ndarray]]]] = {"images": {}, "errors": {}, "bias": {}}
    for setting, budget, images in shown:
        result, name = measured.result(setting, budget), f"{setting.name}, {budget.name}"
        maps = look(images[0].rgb), error_map(images[0].rgb, clean), bias_map([shot.rgb for shot in images], clean)
        for kind, picture in zip(panels, maps, strict=True):
            panels[kind].setdefault(budget.name, []).append((setting.name, picture))
        caption = f"{images[0].samples} spp, {images[0].seconds:.3g} s, relMSE {result.rel_mse:.3g}"
        pictures.append(CaptionedImage(name, encode_png(maps[0]), caption))
        errors.append(CaptionedImage(name, encode_png(maps[1]), f"relMSE {result.rel_mse:.3g}"))
        bias = f"bias\u00b2 {result.squared_bias:.2g} \u00b1 {result.squared_bias_error:.1g}"
        biases.append(CaptionedImage(name, encode_png(maps[2]), bias))
    for rows in panels["images"].values():
        rows.insert(0, ("reference", look(clean)))

    drawn = {
        "convergence": {theme: figures.convergence(measured, theme=theme) for theme in figures.THEMES},
        "parts": {theme: figures.parts(measured, settings, shots.budgets, theme=theme) for theme in figures.THEMES},
        "error legend": {theme: figures.legend("error", theme=theme) for theme in figures.THEMES},
        "bias legend": {theme: figures.legend("bias", theme=theme) for theme in figures.THEMES},
    }
    for name, files in drawn.items():
        _write(folder / "figures" / f"{name.replace(' ', '-')}.png", files["light"])
    for kind, galleries in panels.items():
        _write(folder / "figures" / f"{kind}.png", figures.gallery(list(galleries.items())))

    last = [images[0].rgb for _, _, images in shown[-len(settings) :]]
    height, width = clean.shape[:2]
    page = Page(
        title=Path(about.scene).name,
        facts=_facts(reference, about),
        answers=summary,
        warnings=about.warnings,
        measured=measured,
        settings=settings,
        budgets=shots.budgets,
        shown=shown_budgets(shots.budgets),
        width=width,
        height=height,
        pictures=pictures,
        wiped=(len(pictures) - len(settings), min(len(pictures) - len(settings) + 1, len(pictures) - 1)),
        crops=choose_crops(clean, last, [setting.name for setting in settings]),
        errors=errors,
        biases=biases,
        figures=drawn,
        notes=_notes(reference, about, look, settings),
        data=data,
    )
    _write(folder / "report.html", write_page(page).encode())
    return data


def shown_budgets(budgets: Sequence[Budget]) -> list[Budget]:
    """Return the budgets whose images are shown: the most samples and the longest time."""
    kinds = [[budget for budget in budgets if budget.kind == kind] for kind in ("samples", "time")]
    return [max(kind, key=lambda budget: budget.value) for kind in kinds if kind]


def answers(measured: Measured, settings: Sequence[Setting], budgets: Sequence[Budget]) -> list[str]:
    """Return sentences on errors of pixels, blocks and means at the longest budgets, and on when uncached rendering overtakes."""
    sentences = []
    for budget in shown_budgets(budgets):
        plain = measured.result(settings[0], budget)
        words = "samples" if budget.kind == "samples" else "time"
        for setting in settings[1:]:
            result = measured.result(setting, budget)
            pixels, small, large = (
                _compared(
                    *((getattr(r, name), getattr(r, f"{name}_error")) for r in (plain, result)), seeds=result.bias.seeds
                )
                for name in ("rel_mse", "block_error_8", "block_error_32")
            )
            sentences.append(
                f"{setting.name} at equal {words} ({budget.name}), compared with {settings[0].name}: relMSE of pixels {pixels}; "
                f"error of means over 8 x 8 pixels {small}, over 32 x 32 pixels {large}. The image's mean is {_mean(result)}."
            )
    sentences.extend(f"{settings[0].name} overtakes {c.setting.name}: {c.words}." for c in measured.crossings)
    return sentences


def _compared(plain: tuple[float, float], other: tuple[float, float], *, seeds: int) -> str:
    """Return how an error compares with the plain one, each given with its standard error."""
    if not (plain[0] > 0.0 and other[0] > 0.0):
        return "not known"
    ratio = plain[0] / other[0]
    margin = significant_errors(seeds) * ratio * float(np.hypot(plain[1] / plain[0], other[1] / other[0]))
    if abs(ratio - 1.0) <= margin:
        return "not measurably different"
    return f"{ratio:.3g} times smaller" if ratio > 1.0 else f"{1.0 / ratio:.3g} times larger"


def _mean(result: Result) -> str:
    """Return how much too bright an image is, with the standard error."""
    bias, error = (100.0 * float(np.mean(values)) for values in (result.bias.channels, result.bias.channel_errors))
    if abs(bias) <= significant_errors(result.bias.seeds) * error:
        return f"not measurably wrong: {bias:+.2g} % with a standard error of {error:.1g} %"
    return f"{abs(bias):.2g} % too {'bright' if bias > 0 else 'dark'}, with a standard error of {error:.1g} %"


def _facts(reference: Reference, about: Circumstances) -> list[tuple[str, str]]:
    """Return names and values of facts for the head of the page."""
    height, width = reference.first.shape[:2]
    error = "one image, taken as exact" if reference.error is None else f"{100 * reference.error:.2g} % error"
    depth = "without limit" if about.max_depth < 0 else f"up to {about.max_depth} segments"
    return [
        ("size", f"{width} x {height}"),
        ("device", about.device),
        ("sampler", about.sampler),
        ("paths", depth),
        ("seeds", str(about.seeds)),
        ("reference", error),
        *((name, str(value)) for name, value in about.options.items()),
        ("nrc-tracer", __version__),
    ]


def _notes(reference: Reference, about: Circumstances, look: Look, settings: Sequence[Setting]) -> list[str]:
    """Return paragraphs on how the numbers and images were made."""
    error = reference.error
    if error is None:
        source = "The reference is a single image that was given. It counts as exact: its noise is part of all errors and biases."
    else:
        source = (
            f"The reference consists of two independent images with {reference.samples[0]} and {reference.samples[1]} samples "
            f"per pixel (0: unknown); the relative error of their mean is {100 * error:.2g} %. Errors are computed as "
            "(x - r1)(x - r2), so that the noise of the references cancels on average."
        )
    if reference.nodes:
        count = "1 node" if len(reference.nodes) == 1 else f"{len(reference.nodes)} nodes"
        source += (
            f" The reference was rendered by {count} of a cluster ({', '.join(reference.nodes)}). All images that are compared "
            "with it were rendered by one machine, so that their times are comparable."
        )
    if any(setting.denoised for setting in settings):
        source += (
            " Denoised images are rendered in the time that denoising leaves. Open Image Denoise is guided by albedo and "
            "normals; its bias becomes smaller as samples come in."
        )
    return [
        source,
        "relMSE is the mean of (x - r)\u00b2 / (r\u00b2 + 0.01 mean(r)\u00b2) over all pixels and channels, the sum of squared "
        "bias and variance. The squared bias is estimated without bias, by the mean of products of errors of different seeds, so "
        "it may be below zero by chance; it is given with its standard error. Block errors are RMS relative errors of the means "
        "of blocks of pixels: noise averages out in them, light that is wrong in a whole region does not.",
        f"Every image has its own seed. The settings take turns, seed by seed ({about.seeds} images of each). Times are those of "
        "rendering, including warm-up and training of a cache, excluding loading and compilation. The convergence curves come "
        "from one additional run of each setting.",
        "The time at which uncached rendering overtakes a setting whose bias stays comes from a model: the error of uncached "
        "rendering and the variance of the other setting fall as 1 / t, and the squared bias of the other setting stays. Further "
        "training that reduces the bias makes the time longer. Where the bias vanishes as samples come in (cached, unbiased), "
        "there is no such time, and only a crossing of the measured curves is reported.",
        f"Images are shown with the tone mapping {look.tone} at an exposure of {look.exposure:g} stops. PSNR and SSIM are "
        "measured on tone-mapped images; FLIP is HDR-FLIP of the first seed.",
    ]


def _file_name(setting: Setting, budget: Budget) -> str:
    """Return the name of an image's file without its ending."""
    return f"{setting.name} {budget.name}".replace(", ", "-").replace(" ", "-")


def _write(path: Path, content: bytes) -> None:
    """Replace a file. Raises `OutputError`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
