"""What a render prints about itself: a line before it, lines after it, and its summary as JSON data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nrc_tracer.cli.progress import rate

if TYPE_CHECKING:
    from nrc_tracer.imaging import Image
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer


def scene_line(scene: Scene, renderer: Renderer) -> str:
    """Describe what is about to be rendered: `cornell-box.xml: 8 shapes, 5 materials, 512x512 on cpu (embree)`."""
    description = scene.description
    counts = (
        ("shape", len(description.shapes)),
        ("material", len(description.materials)),
        ("texture", len(description.textures)),
    )
    parts = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts if count]
    size = f"{renderer.width}x{renderer.height} on {renderer.device} ({renderer.accel})"
    return f"{scene.source.name if scene.source else 'scene'}: {', '.join([*parts, size])}"


def dropped_warning(renderer: Renderer) -> str | None:
    """Return a warning about samples that were left out, None if there were none."""
    if not renderer.dropped:
        return None
    places = ", ".join(f"({x}, {y})" for x, y in renderer.dropped_pixels()[:10])
    return f"{renderer.dropped} samples were not finite and were left out, first at pixels {places}"


def cache_warning(report: dict[str, Any]) -> str | None:
    """Return a warning if paths end in a cache that is not known to be accurate; None otherwise."""
    if report["mode"] != "raw" or report["converged"]:
        return None
    return (
        f"the cache is not known to be accurate to 3 %: {bias_words(report)} after {report['warm_up_frames']} frames of "
        "training before the first sample; give it more --time, --spp or --cache-train-frames"
    )


def summarize(renderer: Renderer, image: Image, *, seconds: float, resumed_from: int) -> dict[str, Any]:
    """Return the facts about a render as JSON data.

    Args:
        renderer: The renderer afterwards.
        image: Its image.
        seconds: Time of rendering.
        resumed_from: Samples per pixel that a checkpoint had.
    """
    noise = renderer.noise()
    samples = (renderer.samples - resumed_from) * renderer.width * renderer.height
    summary: dict[str, Any] = {
        "width": renderer.width,
        "height": renderer.height,
        "samples": renderer.samples,
        "seconds": seconds,
        "resumed_from": resumed_from,
        "noise": noise if math.isfinite(noise) else None,
        "samples_per_second": samples / max(seconds, 1e-9),
        "mean": list(image.mean),
        "dropped": image.dropped,
        "dropped_pixels": [list(pixel) for pixel in renderer.dropped_pixels()[:10]],
        "device": renderer.device,
        "accel": renderer.accel,
    }
    if renderer.cache is not None:
        summary["cache"] = renderer.cache_report()
    return summary


def result_line(summary: dict[str, Any]) -> str:
    """Describe what was rendered: files, size, samples, noise, time and speed."""
    size = f"{summary['width']}x{summary['height']}, {summary['samples']} spp"
    speed = f"{rate(summary['samples_per_second'])}, {summary['accel']} on {summary['device']}"
    noise = "" if summary["noise"] is None else f"noise {100 * summary['noise']:.2g} %, "
    return f"{', '.join(summary['outputs'])}  {size}, {noise}{summary['seconds']:.1f} s ({speed})"


def cache_line(summary: dict[str, Any]) -> str:
    """Describe what the cache did: `cache: bias +0.4 % (+- 0.7 %); 32 frames of warm-up (2.3 s), 0.98 queries per path, ...`."""
    report = summary["cache"]
    if report.get("continue_probability") == 1.0:
        return "cache: not used, because correcting it would cost more here than it saves; all paths were traced to their ends"
    seconds = report["seconds"]
    total = sum(seconds.values()) or 1.0
    shares = ", ".join(
        f"{name} {100 * seconds[key] / total:.0f} %"
        for key, name in (("trace", "tracing"), ("query", "queries"), ("train", "training"))
    )
    return (
        f"cache: {bias_words(report)}{_correction_words(summary)}; "
        f"{report['warm_up_frames']} frames of warm-up ({report['warm_up_seconds']:.1f} s), "
        f"{report['queries_per_path']:.2f} queries per path, {report['mean_path_length']:.1f} vertices per path; {shares}"
    )


def _correction_words(summary: dict[str, Any]) -> str:
    """Return what the correction adds to the image's mean, and its standard error, as text; nothing without a correction."""
    means, errors = (summary["cache"].get(name) for name in ("correction", "correction_error"))
    image = sum(summary["mean"])
    if means is None or errors is None or image <= 0.0:
        return ""
    return f", corrected by {100 * sum(means) / image:+.1f} % (+- {100 * sum(errors) / image:.1f} %)"


def bias_words(report: dict[str, Any]) -> str:
    """Return the measured bias and its standard error as text."""
    bias, error = report["bias"], report["bias_error"]
    if bias is None or error is None or not math.isfinite(bias):
        return "bias not measured"
    return f"bias {100 * bias:+.1f} % (+- {100 * error:.1f} %)"
