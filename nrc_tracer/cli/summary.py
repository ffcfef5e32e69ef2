"""What a render says of itself: one line before it, one after it, and the JSON summary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nrc_tracer.cli.progress import rate

if TYPE_CHECKING:
    from nrc_tracer.imaging import Image
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer


def scene_line(scene: Scene, renderer: Renderer) -> str:
    """Summarise what is about to be rendered: `cornell-box.xml: 8 shapes, 5 materials, 512x512 on cpu (embree)`."""
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
    """Say which samples were left out, if any."""
    if not renderer.dropped:
        return None
    places = ", ".join(f"({x}, {y})" for x, y in renderer.dropped_pixels()[:10])
    return f"{renderer.dropped} samples were not finite and were left out, first at pixels {places}"


def summarize(renderer: Renderer, image: Image, *, seconds: float, resumed_from: int) -> dict[str, Any]:
    """What the renderer has done in `seconds`, from `resumed_from` samples on."""
    noise = renderer.noise()
    samples = (renderer.samples - resumed_from) * renderer.width * renderer.height
    summary = {
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
    """Summarise what was rendered."""
    size = f"{summary['width']}x{summary['height']}, {summary['samples']} spp"
    speed = f"{rate(summary['samples_per_second'])}, {summary['accel']} on {summary['device']}"
    noise = "" if summary["noise"] is None else f"noise {100 * summary['noise']:.2g} %, "
    return f"{', '.join(summary['outputs'])}  {size}, {noise}{summary['seconds']:.1f} s ({speed})"
